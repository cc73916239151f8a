//! How many and how long labels and variables may be.
