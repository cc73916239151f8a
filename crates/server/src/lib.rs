//! The HTTP face: routes by client family, errors, OpenAPI, events.
