//! Names and other text that people will see.
