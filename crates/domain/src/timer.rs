//! When a sandbox is due for something by itself.
