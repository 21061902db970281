//! Tools for who writes plugins: what a plugin is made with, and how it is tried before a cluster sees it.

#[cfg(feature = "authoring")]
mod bindings;
mod cases;
#[cfg(feature = "authoring")]
mod contract;
mod expectation;
mod inspection;
mod overheard;
#[cfg(feature = "authoring")]
mod project;
mod timing;
mod trial;
#[cfg(feature = "authoring")]
mod wrap;

#[cfg(feature = "authoring")]
pub use bindings::{BindingsError, BindingsLanguage, bindings};
pub use cases::{Case, CaseFault, CasesError, read as read_cases};
#[cfg(feature = "authoring")]
pub use contract::ContractError;
pub use expectation::{Answer, ErrorKind, Expectation, ExpectationError};
pub use inspection::{Inspection, Size, inspect};
#[cfg(feature = "authoring")]
pub use project::{ProjectFile, ProjectLanguage, project};
pub use timing::{Spread, Timing, TimingError, time};
pub use trial::{CaseResult, Difference, run};
#[cfg(feature = "authoring")]
pub use wrap::{WrapError, WrapOptions, wrap};
