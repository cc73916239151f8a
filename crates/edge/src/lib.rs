//! What reaches into sandboxes: the toolbox proxy.
