//! Tests with the tools that operators use. `make drills` runs them.

mod page;
