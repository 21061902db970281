//! Tools for who writes plugins: what a plugin is made with, and how it is tried before a cluster sees it.

mod bindings;
mod cases;
mod contract;
mod expectation;
mod inspection;
mod overheard;
mod project;
mod timing;
mod trial;
mod wrap;

pub use bindings::{BindingsError, BindingsLanguage, bindings};
pub use cases::{Case, CaseFault, CasesError, read as read_cases};
pub use contract::ContractError;
pub use expectation::{Answer, ErrorKind, Expectation, ExpectationError};
pub use inspection::{Inspection, Size, inspect};
pub use project::{ProjectFile, ProjectLanguage, project};
pub use timing::{Spread, Timing, TimingError, time};
pub use trial::{CaseResult, Difference, run};
pub use wrap::{WrapError, WrapOptions, wrap};
