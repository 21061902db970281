//! Speaks to registries, and to image layouts on disk.
