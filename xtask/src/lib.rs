//! Checks that are programs: layers, OpenAPI, files.
