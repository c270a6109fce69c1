"""NetworkPolicy in the kernel: model, selection, compiler and verdict (pure), renderers, kernel, proof."""
