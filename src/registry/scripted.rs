//! A server that plays a script.
