/* The CNI plugin that the runtime executes, compiled: what cni/shim.py does, for an eighth of its time.
 *
 * It hands the call to the node's agent and prints its answer (protocol: cni/agent_wire.py; CNI spec 1.1, section 2). One test
 * suite holds both to the same behaviour, tests/unit/test_cni_shim.py. Only libc; nothing of the environment is trusted; whatever
 * blocks is ended by SIGALRM, whose handler prints an error that was made before.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define CURRENT "1.1.0"
#define DEFAULT_SOCKET "/run/romana/agent.sock"
#define SECOND_NS 1000000000LL
#ifndef DEADLINE_S /* tests have shorter patience */
#define DEADLINE_S 110 /* kubelet kills a call after 120 s */
#endif
#ifndef CONNECT_ADD_MS
#define CONNECT_ADD_MS 30000
#endif
#ifndef ANSWER_DEL_S
#define ANSWER_DEL_S 20
#endif

enum { INVALID_ENVIRONMENT = 4, INVALID_NETNS = 8, TRY_AGAIN = 11, NOT_AVAILABLE = 50, INTERNAL = 999 };

static const char *const VERSIONS[] = {"0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", CURRENT, NULL};

struct command { const char *name, *required[4]; int connect_ms, answer_s; };

static const struct command COMMANDS[] = {
    {"ADD", {"CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"}, CONNECT_ADD_MS, 100},
    {"CHECK", {"CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"}, 10000, 20},
    {"DEL", {"CNI_CONTAINERID", "CNI_IFNAME"}, 10000, ANSWER_DEL_S},
    {"GC", {NULL}, 10000, 100},
    {"STATUS", {NULL}, 500, 5},
};

struct text { char *at; size_t size, room; };

extern char **environ;
static int64_t started_ns;
static struct text input; /* standard input: an error carries the configuration's version */
static int closed[3];     /* standard descriptors that were closed when we began */
static int try_again = TRY_AGAIN;
static char late[512]; /* the error of SIGALRM's handler */

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * SECOND_NS + now.tv_nsec;
}

static void append(struct text *text, const void *what, size_t size) {
    if (text->size + size + 1 > text->room) {
        text->room = 2 * text->room + size + 4096;
        if (!(text->at = realloc(text->at, text->room))) _exit(1);
    }
    memcpy(text->at + text->size, what, size);
    text->at[text->size += size] = 0;
}

static void add(struct text *text, const char *what) { append(text, what, strlen(what)); }

/* Length of the UTF-8 sequence at `at` (RFC 3629), its code in *code; 0 when it is none. */
static int utf8(const unsigned char *at, uint32_t *code) {
    int length = at[0] < 0x80 ? 1 : at[0] >= 0xC2 && at[0] < 0xE0 ? 2 : (at[0] & 0xF0) == 0xE0 ? 3 : at[0] >= 0xF0 && at[0] < 0xF5 ? 4 : 0;
    static const unsigned char mask[] = {0, 0x7F, 0x1F, 0x0F, 0x07};
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    *code = at[0] & mask[length];
    for (int i = 1; i < length; i++) {
        if ((at[i] & 0xC0) != 0x80) return 0;
        *code = *code << 6 | (at[i] & 0x3F);
    }
    return *code < least[length] || *code > 0x10FFFF || (*code >= 0xD800 && *code < 0xE000) ? 0 : length;
}

/* A JSON string in ASCII (RFC 8259, section 7). */
static void add_quoted(struct text *text, const char *what) {
    char escape[16];
    add(text, "\"");
    for (const unsigned char *at = (const unsigned char *)what; *at;) {
        uint32_t code;
        int length = utf8(at, &code);
        if (!length) code = 0xFFFD, length = 1;
        if (code >= 0x20 && code < 0x7F && code != '"' && code != '\\')
            append(text, at, 1);
        else if (code > 0xFFFF)
            snprintf(escape, sizeof escape, "\\u%04x\\u%04x", 0xD800 + ((code - 0x10000) >> 10), 0xDC00 + ((code - 0x10000) & 0x3FF)),
                add(text, escape);
        else
            snprintf(escape, sizeof escape, "\\u%04x", code), add(text, escape);
        at += length;
    }
    add(text, "\"");
}

static int write_all(int fd, const char *at, size_t size) {
    if (size && closed[fd]) return 0;
    while (size) {
        ssize_t wrote = write(fd, at, size);
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote <= 0) return 0;
        at += wrote, size -= (size_t)wrote;
    }
    return 1;
}

static const char *skip_space(const char *at) { return at + strspn(at, " \t\r\n"); }

/* Past the string that begins at `at`, NULL when it does not end. */
static const char *skip_string(const char *at) {
    for (at++; *at != '"'; at++)
        if (!*at || (*at == '\\' && !*++at)) return NULL;
    return at + 1;
}

/* Whether the string from `at` to its closing quote is one of JSON (RFC 8259, section 7): no control character, known escapes, UTF-8. */
static int is_string(const char *at, const char *end) {
    uint32_t code;
    for (at++; at < end - 1;) {
        int length = utf8((const unsigned char *)at, &code);
        if (!length || code < 0x20) return 0;
        at += length;
        if (code != '\\') continue;
        if (*at == 'u') {
            for (int i = 1; i <= 4; i++)
                if (!strchr("0123456789abcdefABCDEF", at[i]) || !at[i]) return 0;
            at += 5;
        } else if (!strchr("\"\\/bfnrt", *at++))
            return 0;
    }
    return 1;
}

/* The configuration's cniVersion as it stands there, quotes included, CURRENT when there is none: the last such key of the outermost
 * object. `known`: only one of ours will do. */
static void add_version(struct text *text, int known) {
    const char *at = input.at ? skip_space(input.at) : "", *found = NULL;
    size_t length = 0;
    int depth = 0;
    for (int outermost = *at == '{'; outermost && at && *at;) {
        if (*at == '"') {
            const char *key = at, *value = (at = skip_string(at)) ? skip_space(at) : "";
            if (depth != 1 || *value != ':' || at - key != 12 || strncmp(key, "\"cniVersion\"", 12)) continue;
            at = value = skip_space(value + 1), found = NULL;
            if (*value == '"' && (at = skip_string(value)) && is_string(value, at)) found = value, length = (size_t)(at - value);
            continue;
        }
        depth += (*at == '{' || *at == '[') - (*at == '}' || *at == ']');
        at++;
        if (depth == 0) break;
    }
    if (!at || depth || *skip_space(at)) found = NULL; /* no JSON object */
    for (int i = 0; known && found; i++)
        if (!VERSIONS[i] || (length == strlen(VERSIONS[i]) + 2 && !strncmp(found + 1, VERSIONS[i], length - 2))) {
            if (!VERSIONS[i]) found = NULL;
            break;
        }
    if (found) append(text, found, length);
    else add_quoted(text, CURRENT);
}

static struct text error_document(int code, const char *msg, const char *details) {
    struct text text = {0};
    char number[24];
    snprintf(number, sizeof number, "%d", code);
    add(&text, "{\"cniVersion\":"), add_version(&text, 1);
    add(&text, ",\"code\":"), add(&text, number);
    add(&text, ",\"msg\":"), add_quoted(&text, msg);
    if (details) add(&text, ",\"details\":"), add_quoted(&text, details);
    add(&text, "}\n");
    return text;
}

__attribute__((noreturn)) static void fail(int code, const char *msg, const char *details) {
    struct text text = error_document(code, msg, details);
    write_all(1, text.at, text.size);
    _exit(1);
}

static void ring(int number) {
    (void)number;
    write_all(1, late, strlen(late));
    _exit(1);
}

static void set_alarm(int limit_s) {
    char msg[64];
    sigset_t set;
    struct sigaction action = {.sa_handler = ring};
    snprintf(msg, sizeof msg, "no answer within %d s", limit_s);
    struct text text = error_document(try_again, msg, "try again later");
    alarm(0);
    snprintf(late, sizeof late, "%s", text.at);
    sigaction(SIGALRM, &action, NULL);
    sigemptyset(&set), sigaddset(&set, SIGALRM);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    alarm((unsigned)limit_s);
}

static void read_input(void) {
    static char part[1 << 16];
    ssize_t size;
    while ((size = read(0, part, sizeof part)) > 0 || (size < 0 && errno == EINTR))
        if (size > 0) append(&input, part, (size_t)size);
    if (size < 0) input.size = 0;
    append(&input, "", 0);
}

static int print_version(void) {
    struct text text = {0};
    add(&text, "{\"cniVersion\":"), add_version(&text, 0), add(&text, ",\"supportedVersions\":[");
    for (int i = 0; VERSIONS[i]; i++) add(&text, i ? "," : ""), add_quoted(&text, VERSIONS[i]);
    add(&text, "]}\n");
    return write_all(1, text.at, text.size);
}

static const struct command *checked_command(const char *name) {
    const struct command *command = NULL;
    struct text text = {0};
    for (size_t i = 0; i < sizeof COMMANDS / sizeof *COMMANDS; i++)
        if (!strcmp(name, COMMANDS[i].name)) command = &COMMANDS[i];
    if (!command) add(&text, "unknown CNI_COMMAND: "), add(&text, name), fail(INVALID_ENVIRONMENT, text.at, NULL);
    for (int i = 0; command->required[i]; i++) {
        const char *value = getenv(command->required[i]);
        if (!value || !*value) add(&text, text.size ? "," : ""), add(&text, command->required[i]);
    }
    if (text.size) {
        struct text msg = {0};
        add(&msg, "required env variables ["), add(&msg, text.at), add(&msg, "] missing"), fail(INVALID_ENVIRONMENT, msg.at, NULL);
    }
    for (int i = 0; command->required[i]; i++) {
        const char *value = getenv(command->required[i]);
        uint32_t code;
        int length;
        for (const char *at = value; *at; at += length) {
            if ((length = utf8((const unsigned char *)at, &code))) continue;
            add(&text, command->required[i]), add(&text, " is "), add(&text, value), add(&text, "; must be UTF-8");
            fail(INVALID_ENVIRONMENT, text.at, NULL);
        }
    }
    return command;
}

/* The agent's socket: the one line of `<this file>.socket`, else the default. */
static const char *socket_path(void) {
    static char line[4097];
    struct text path = {0};
    const char *self = (const char *)getauxval(AT_EXECFN); /* as it was executed, as a script has it */
    add(&path, self ? self : ""), add(&path, ".socket");
    int fd = open(path.at, O_RDONLY | O_CLOEXEC);
    ssize_t size = fd < 0 ? 0 : read(fd, line, sizeof line - 1);
    if (fd >= 0) close(fd);
    while (size > 0 && strchr(" \t\r\n", line[size - 1])) size--;
    line[size > 0 ? size : 0] = 0;
    const char *found = skip_space(line);
    return *found ? found : DEFAULT_SOCKET;
}

__attribute__((noreturn)) static void gone(const char *path, const char *why) {
    struct text msg = {0};
    add(&msg, "the romana agent does not answer on "), add(&msg, path), add(&msg, ": "), add(&msg, why);
    fail(try_again, msg.at, "try again later; is romana-agent running on this node?");
}

static void pause_briefly(void) { nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL); }

static void bound_send(int fd, int64_t left_ns) {
    struct timeval limit = {left_ns / SECOND_NS, left_ns % SECOND_NS / 1000};
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit); /* of connect(2) too, unix(7); 0: none */
}

/* A connection to the agent; keeps trying while it is not there. */
static int connect_agent(const char *path, int64_t give_up_ns) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) gone(path, "AF_UNIX path too long");
    strcpy(address.sun_path, path);
    for (;;) {
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        int64_t left_ns = give_up_ns - now_ns();
        bound_send(fd, left_ns > 10000000 ? left_ns : 10000000);
        if (!connect(fd, (struct sockaddr *)&address, sizeof address)) {
            bound_send(fd, 0); /* from here on the alarm bounds everything */
            return fd;
        }
        const char *why = strerror(errno);
        close(fd);
        if (now_ns() > give_up_ns) gone(path, why);
        pause_briefly();
    }
}

/* Send the request, the namespace's descriptor with its first byte. */
static int send_request(int fd, const struct text *request, int netns) {
    union { struct cmsghdr header; char room[CMSG_SPACE(sizeof(int))]; } control = {0};
    struct iovec part = {request->at, request->size};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (netns >= 0) {
        message.msg_control = control.room, message.msg_controllen = sizeof control.room;
        control.header = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(&control.header), &netns, sizeof netns);
    }
    ssize_t sent = sendmsg(fd, &message, MSG_NOSIGNAL);
    for (size_t done = 0; sent >= 0; sent = send(fd, request->at + done, request->size - done, MSG_NOSIGNAL))
        if ((done += (size_t)sent) == request->size) return 1;
    return 0;
}

static int receive_exactly(int fd, void *into, size_t size) {
    for (char *at = into; size;) {
        ssize_t got = recv(fd, at, size, 0);
        if (got == 0) errno = 0;
        if (got <= 0) return 0;
        at += got, size -= (size_t)got;
    }
    return 1;
}

static uint32_t big_endian(const unsigned char *at) { return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3]; }

static void add_length(struct text *text, size_t size) {
    append(text, (unsigned char[]){(unsigned char)(size >> 24), (unsigned char)(size >> 16), (unsigned char)(size >> 8), (unsigned char)size}, 4);
}

static struct text request_of(void) {
    struct text block = {0}, request = {0};
    char started[48];
    for (char **variable = environ; *variable; variable++)
        if (!strncmp(*variable, "CNI_", 4) && strchr(*variable, '=')) append(&block, *variable, strlen(*variable) + 1);
    snprintf(started, sizeof started, "ROMANA_STARTED_NS=%lld", (long long)started_ns);
    add(&block, started);
    add(&request, "ROM1"), add_length(&request, block.size), add_length(&request, input.size);
    append(&request, block.at, block.size), append(&request, input.at, input.size);
    return request;
}

/* The agent's exit status, its output printed. A DEL whose agent dies is asked again: it is safe to repeat. */
static int exchange(const struct command *command, int netns) {
    const char *path = socket_path();
    struct text request = request_of();
    int64_t give_up_ns = now_ns() + command->connect_ms * 1000000LL, left_s = DEADLINE_S - (now_ns() - started_ns) / SECOND_NS;
    set_alarm((int)(left_s < 1 ? 1 : left_s < command->answer_s ? left_s : command->answer_s));
    for (;;) {
        unsigned char head[5];
        int fd = connect_agent(path, give_up_ns);
        if (send_request(fd, &request, netns) && receive_exactly(fd, head, sizeof head)) {
            uint32_t size = big_endian(head + 1);
            char *output = malloc(size + 1U);
            if (output && receive_exactly(fd, output, size)) {
                /* A runtime that cannot read the result must not take the call for done: it will DEL what it knows nothing of. */
                return write_all(1, output, size) ? head[0] : 1;
            }
            free(output);
        }
        const char *why = errno ? strerror(errno) : "it closed the connection before it answered";
        close(fd);
        if (strcmp(command->name, "DEL") || now_ns() > give_up_ns) gone(path, why);
        pause_briefly();
    }
}

/* A descriptor of CNI_NETNS, opened here because the runtime's mount namespace is ours and not the agent's; DEL can do without. */
static int open_netns(const struct command *command) {
    const char *path = getenv("CNI_NETNS");
    if (!path || !*path || !command->required[0]) return -1;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* it may be anything, a pipe without a writer too */
    if (fd < 0 && strcmp(command->name, "DEL")) {
        struct text msg = {0};
        const char *why = strerror(errno);
        add(&msg, "cannot open the network namespace "), add(&msg, path), add(&msg, ": "), add(&msg, why);
        fail(INVALID_NETNS, msg.at, NULL);
    }
    return fd;
}

int main(void) {
    started_ns = now_ns();
    for (int fd; (fd = open("/dev/null", O_RDWR | O_CLOEXEC)) >= 0 && fd <= 2;) closed[fd] = 1; /* no descriptor of ours there */
    set_alarm(DEADLINE_S);
    const char *name = getenv("CNI_COMMAND");
    if (!name || !*name) {
        struct text text = {0};
        add(&text, "romana: CNI plugin of a routed pod network; versions ");
        for (int i = 0; VERSIONS[i]; i++) add(&text, i ? ", " : ""), add(&text, VERSIONS[i]);
        add(&text, "\n");
        write_all(2, text.at, text.size);
        _exit(0);
    }
    read_input(); /* before the first check: an error carries the configuration's version */
    if (!strcmp(name, "VERSION")) _exit(print_version() ? 0 : 1);
    const struct command *command = checked_command(name);
    if (!strcmp(name, "STATUS")) try_again = NOT_AVAILABLE;
    _exit(exchange(command, open_netns(command)));
}
