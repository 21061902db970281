//! Tells what happened: metrics, Kubernetes events, the HTTP endpoints.
