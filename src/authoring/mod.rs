//! Tools for plugin authors: projects, bindings, components from core modules, test cases and benchmarks.

#[cfg(feature = "authoring")]
mod bindings;
mod capture;
mod cases;
#[cfg(feature = "authoring")]
mod contract;
mod expectation;
mod inspect;
#[cfg(feature = "authoring")]
mod project;
mod run;
mod timing;
#[cfg(feature = "authoring")]
mod wrap;

#[cfg(feature = "authoring")]
pub use bindings::{BindingsError, BindingsLanguage, bindings};
pub use cases::{Case, CaseError, CasesError, read_cases};
#[cfg(feature = "authoring")]
pub use contract::ContractError;
pub use expectation::{Answer, ErrorKind, Expectation, ExpectationError};
pub use inspect::{Inspection, Size, inspect};
#[cfg(feature = "authoring")]
pub use project::{ProjectFile, ProjectLanguage, project};
pub use run::{CaseResult, Difference, run_cases};
pub use timing::{Percentiles, Timing, TimingError, time};
#[cfg(feature = "authoring")]
pub use wrap::{WrapError, WrapOptions, wrap};
