//! What the agent inside a sandbox answers: the toolbox API.
