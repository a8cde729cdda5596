//! Policies: what people write, and what the kernel gets of it.
