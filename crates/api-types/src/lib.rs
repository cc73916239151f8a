//! The public JSON of the Daytona API.
