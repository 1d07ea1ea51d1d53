//! Image names, sources and the node image builder.
