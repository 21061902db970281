//! Tools for plugin authors: projects, bindings, components from core modules, test cases and benchmarks.

mod bindings;
mod capture;
mod cases;
mod contract;
mod expectation;
mod inspect;
mod project;
mod run;
mod timing;
mod wrap;

pub use bindings::{BindingsError, BindingsLanguage, bindings};
pub use cases::{Case, CaseError, CasesError, read_cases};
pub use contract::ContractError;
pub use expectation::{Answer, ErrorKind, Expectation, ExpectationError};
pub use inspect::{Inspection, Size, inspect};
pub use project::{ProjectFile, ProjectLanguage, project};
pub use run::{CaseResult, Difference, run_cases};
pub use timing::{Percentiles, Timing, TimingError, time};
pub use wrap::{WrapError, WrapOptions, wrap};
