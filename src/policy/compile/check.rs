//! Checks a component before it is compiled: nesting, counts, and the memory of an instance. A few bytes can cost the
//! compiler hours and gigabytes; this check costs no more than parsing.

use std::{ops::AddAssign, thread};

use wasmparser::{
    BinaryReaderError, ComponentAlias, ComponentExternalKind, ComponentInstance, ComponentOuterAliasKind,
    ComponentTypeRef, ElementItems, Instance, Operator, Parser, Payload, Validator, WasmFeatures,
};

use super::super::engine::config;

/// Twice what the deepest nesting within the limits was measured to need.
const STACK: usize = 8 << 20;

/// Components within components. Tools nest two levels, composition adds one or two.
const MAX_NESTING: usize = 16;
/// Nested blocks of one function: the main loops of interpreters have hundreds, Go's largest functions thousands.
const MAX_BLOCK_DEPTH: usize = 10_000;
/// Modules and components at all levels: an interpreter is linked from some twenty.
const MAX_MODULES: u64 = 500;
/// Instances of modules and components that one start creates.
const MAX_INSTANCES: u64 = 1_000;
/// Memory of the host for the functions and globals of all these instances, in bytes.
const MAX_INSTANCE_BYTES: u64 = 16 << 20;
/// In all modules together.
const MAX_FUNCTIONS: u64 = 100_000;
const MAX_GLOBALS: u64 = 50_000;
const MAX_TYPES: u64 = 50_000;
const MAX_ELEMENTS: u64 = 200_000;
/// Go's linker creates ten thousand per MiB.
const MAX_SEGMENTS: u64 = 200_000;
const MAX_NAMES: u64 = 200_000;
/// In bytes; Python's interpreter has one of 400 KiB.
const MAX_FUNCTION_SIZE: u64 = 2 << 20;

/// Why a component fails the check.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// Compilers of ordinary code stay far below the limit.
    #[error("it has more than {max} {what}")]
    LimitExceeded {
        max: u64,
        /// What is limited, in the plural.
        what: &'static str,
    },
    /// The number of instances can't be counted in advance.
    #[error("it instantiates a module or component that it does not define itself")]
    ForeignModule,
    /// Malformed, or it uses proposals that are disabled.
    #[error("{0}")]
    Invalid(String),
    #[error("the thread for the check can't be started: {0}")]
    Thread(String),
}

impl From<BinaryReaderError> for CheckError {
    fn from(error: BinaryReaderError) -> Self {
        Self::Invalid(error.to_string())
    }
}

/// Checks whether the component in `bytes` may be compiled. Runs on a thread with a stack of sufficient size.
pub fn check(bytes: &[u8]) -> Result<(), CheckError> {
    thread::scope(|scope| {
        let builder = thread::Builder::new().name("component-check".to_owned()).stack_size(STACK);
        let thread = builder.spawn_scoped(scope, || validate(bytes));
        let thread = thread.map_err(|error| CheckError::Thread(error.to_string()))?;
        thread.join().unwrap_or_else(|_| Err(CheckError::Invalid("the validator panicked".to_owned())))
    })
}

fn validate(bytes: &[u8]) -> Result<(), CheckError> {
    let features = features();
    let (mut parser, mut validator) = (Parser::new(0), Validator::new_with_features(features));
    parser.set_features(features);
    let mut counts = Counts::default();
    for payload in parser.parse_all(bytes) {
        let payload = payload?;
        counts.count(&payload)?;
        // The compiler validates the functions, as it has to parse them anyway.
        validator.payload(&payload)?;
    }
    Ok(())
}

/// The features of [`config::features`] as types of this release of wasmparser.
fn features() -> WasmFeatures {
    config::features().iter_names().filter_map(|(name, _)| WasmFeatures::from_name(name)).collect()
}

/// Counts of all that was parsed.
#[derive(Default)]
struct Counts {
    /// The modules and components being parsed, outermost first.
    open: Vec<Scope>,
    modules: u64,
    functions: u64,
    globals: u64,
    types: u64,
    elements: u64,
    segments: u64,
    names: u64,
}

/// A module or component that is being parsed.
#[derive(Default)]
struct Scope {
    is_component: bool,
    /// The cost of one instance.
    instance: Cost,
    /// The cost of each module and component that it defines, imports or aliases, by index. None: unknown.
    modules: Vec<Option<Cost>>,
    components: Vec<Option<Cost>>,
}

#[derive(Clone, Copy, Default)]
struct Cost {
    instances: u64,
    bytes: u64,
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        self.instances = self.instances.saturating_add(other.instances);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

/// Memory of the runtime per instance, in bytes: for a function reference, and for a global.
const FUNCTION_BYTES: u64 = 32;
const GLOBAL_BYTES: u64 = 16;

fn add(count: &mut u64, more: impl Into<u64>, max: u64, what: &'static str) -> Result<(), CheckError> {
    *count = count.saturating_add(more.into());
    if *count > max { Err(CheckError::LimitExceeded { max, what }) } else { Ok(()) }
}

impl Counts {
    fn count(&mut self, payload: &Payload<'_>) -> Result<(), CheckError> {
        match payload {
            Payload::Version { encoding, .. } => self.begin(*encoding == wasmparser::Encoding::Component),
            Payload::End(_) => {
                self.end();
                Ok(())
            }
            Payload::TypeSection(types) => add(&mut self.types, types.count(), MAX_TYPES, "types"),
            Payload::CoreTypeSection(types) => add(&mut self.types, types.count(), MAX_TYPES, "types"),
            Payload::ComponentTypeSection(types) => add(&mut self.types, types.count(), MAX_TYPES, "types"),
            Payload::ImportSection(imports) => {
                let count = u64::from(imports.count());
                self.add_bytes(count.saturating_mul(FUNCTION_BYTES));
                add(&mut self.names, count, MAX_NAMES, "imports and exports")
            }
            Payload::FunctionSection(functions) => {
                let count = u64::from(functions.count());
                self.add_bytes(count.saturating_mul(FUNCTION_BYTES));
                add(&mut self.functions, count, MAX_FUNCTIONS, "functions")
            }
            Payload::GlobalSection(globals) => {
                let count = u64::from(globals.count());
                self.add_bytes(count.saturating_mul(GLOBAL_BYTES));
                add(&mut self.globals, count, MAX_GLOBALS, "globals")
            }
            Payload::ExportSection(exports) => add(&mut self.names, exports.count(), MAX_NAMES, "imports and exports"),
            Payload::DataSection(segments) => {
                add(&mut self.segments, segments.count(), MAX_SEGMENTS, "segments of data and elements")
            }
            Payload::ElementSection(segments) => {
                add(&mut self.segments, segments.count(), MAX_SEGMENTS, "segments of data and elements")?;
                for segment in segments.clone() {
                    let count = match segment?.items {
                        ElementItems::Functions(functions) => functions.count(),
                        ElementItems::Expressions(_, expressions) => expressions.count(),
                    };
                    add(&mut self.elements, count, MAX_ELEMENTS, "elements in segments of tables")?;
                }
                Ok(())
            }
            Payload::CodeSectionEntry(body) => check_body(body),
            Payload::InstanceSection(instances) => {
                for instance in instances.clone() {
                    let cost = match instance? {
                        Instance::Instantiate { module_index, .. } => {
                            self.scope().and_then(|scope| cost_at(&scope.modules, module_index))
                        }
                        Instance::FromExports(_) => Some(Cost::default()),
                    };
                    self.instantiate(cost)?;
                }
                Ok(())
            }
            Payload::ComponentInstanceSection(instances) => {
                for instance in instances.clone() {
                    let cost = match instance? {
                        ComponentInstance::Instantiate { component_index, .. } => {
                            self.scope().and_then(|scope| cost_at(&scope.components, component_index))
                        }
                        ComponentInstance::FromExports(_) => Some(Cost::default()),
                    };
                    self.instantiate(cost)?;
                }
                Ok(())
            }
            Payload::ComponentAliasSection(aliases) => {
                add(&mut self.names, aliases.count(), MAX_NAMES, "imports and exports")?;
                for alias in aliases.clone() {
                    self.alias(&alias?);
                }
                Ok(())
            }
            Payload::ComponentImportSection(imports) => {
                add(&mut self.names, imports.count(), MAX_NAMES, "imports and exports")?;
                for import in imports.clone() {
                    match import?.ty {
                        ComponentTypeRef::Module(_) => self.define_module(None),
                        ComponentTypeRef::Component(_) => self.define_component(None),
                        _ => {}
                    }
                }
                Ok(())
            }
            Payload::ComponentExportSection(exports) => {
                add(&mut self.names, exports.count(), MAX_NAMES, "imports and exports")?;
                // An export gets another index in the same index space.
                for export in exports.clone() {
                    let export = export?;
                    match export.kind {
                        ComponentExternalKind::Module => {
                            let cost = self.scope().and_then(|scope| cost_at(&scope.modules, export.index));
                            self.define_module(cost);
                        }
                        ComponentExternalKind::Component => {
                            let cost = self.scope().and_then(|scope| cost_at(&scope.components, export.index));
                            self.define_component(cost);
                        }
                        _ => {}
                    }
                }
                Ok(())
            }
            Payload::ComponentCanonicalSection(functions) => {
                add(&mut self.functions, functions.count(), MAX_FUNCTIONS, "functions")
            }
            _ => Ok(()),
        }
    }

    fn begin(&mut self, is_component: bool) -> Result<(), CheckError> {
        add(&mut self.modules, 1_u32, MAX_MODULES, "modules and components in it")?;
        if self.open.len() >= MAX_NESTING {
            return Err(CheckError::LimitExceeded { max: MAX_NESTING as u64, what: "components nested in each other" });
        }
        self.open.push(Scope { is_component, instance: Cost { instances: 1, bytes: 0 }, ..Scope::default() });
        Ok(())
    }

    fn end(&mut self) {
        let Some(ended) = self.open.pop() else { return };
        if ended.is_component {
            self.define_component(Some(ended.instance));
        } else {
            self.define_module(Some(ended.instance));
        }
    }

    fn scope(&self) -> Option<&Scope> {
        self.open.last()
    }

    fn add_bytes(&mut self, bytes: u64) {
        if let Some(scope) = self.open.last_mut() {
            scope.instance += Cost { instances: 0, bytes };
        }
    }

    fn define_module(&mut self, cost: Option<Cost>) {
        if let Some(scope) = self.open.last_mut() {
            scope.modules.push(cost);
        }
    }

    fn define_component(&mut self, cost: Option<Cost>) {
        if let Some(scope) = self.open.last_mut() {
            scope.components.push(cost);
        }
    }

    /// Counts an instance that each instance of the current component creates.
    fn instantiate(&mut self, cost: Option<Cost>) -> Result<(), CheckError> {
        let cost = cost.ok_or(CheckError::ForeignModule)?;
        let Some(scope) = self.open.last_mut() else { return Ok(()) };
        scope.instance += Cost { instances: cost.instances.max(1), ..cost };
        let Cost { instances, bytes } = scope.instance;
        if instances > MAX_INSTANCES {
            return Err(CheckError::LimitExceeded { max: MAX_INSTANCES, what: "instances" });
        }
        if bytes > MAX_INSTANCE_BYTES {
            let what = "bytes of functions and globals in its instances";
            return Err(CheckError::LimitExceeded { max: MAX_INSTANCE_BYTES, what });
        }
        Ok(())
    }

    fn alias(&mut self, alias: &ComponentAlias<'_>) {
        match alias {
            ComponentAlias::InstanceExport { kind: ComponentExternalKind::Module, .. } => self.define_module(None),
            ComponentAlias::InstanceExport { kind: ComponentExternalKind::Component, .. } => {
                self.define_component(None)
            }
            ComponentAlias::Outer { kind, count, index } => {
                let outer = usize::try_from(*count).ok().and_then(|count| self.open.iter().rev().nth(count));
                match kind {
                    ComponentOuterAliasKind::CoreModule => {
                        let cost = outer.and_then(|outer| cost_at(&outer.modules, *index));
                        self.define_module(cost);
                    }
                    ComponentOuterAliasKind::Component => {
                        let cost = outer.and_then(|outer| cost_at(&outer.components, *index));
                        self.define_component(cost);
                    }
                    ComponentOuterAliasKind::CoreType | ComponentOuterAliasKind::Type => {}
                }
            }
            _ => {}
        }
    }
}

fn cost_at(costs: &[Option<Cost>], index: u32) -> Option<Cost> {
    costs.get(usize::try_from(index).ok()?).copied().flatten()
}

fn check_body(body: &wasmparser::FunctionBody<'_>) -> Result<(), CheckError> {
    let range = body.range();
    if range.end.saturating_sub(range.start) > MAX_FUNCTION_SIZE {
        return Err(CheckError::LimitExceeded { max: MAX_FUNCTION_SIZE, what: "bytes in one function" });
    }
    let mut open = 0_usize;
    for operator in body.get_operators_reader()? {
        match operator? {
            Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => open += 1,
            Operator::End => open = open.saturating_sub(1),
            _ => {}
        }
        if open > MAX_BLOCK_DEPTH {
            return Err(CheckError::LimitExceeded { max: MAX_BLOCK_DEPTH as u64, what: "blocks nested in each other" });
        }
    }
    Ok(())
}
