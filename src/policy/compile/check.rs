//! A look at a component before it is compiled: nesting, counts, and what an instance of it would take. A few bytes can
//! ask a compiler for hours and gigabytes; what is refused here costs no more than reading it.

use std::{ops::AddAssign, thread};

use wasmparser::{
    BinaryReaderError, ComponentAlias, ComponentExternalKind, ComponentInstance, ComponentOuterAliasKind,
    ComponentTypeRef, ElementItems, Instance, Operator, Parser, Payload, Validator, WasmFeatures,
};

use super::super::engine_config;

/// Twice as much as the deepest nesting that is let through was seen to take.
const STACK: usize = 8 << 20;

/// Components in components. Tools nest two levels, and composed components one or two more.
const DEEPEST_NESTING: usize = 16;
/// Blocks in blocks of one function: the main loops of interpreters have some hundreds, Go's largest functions some
/// thousands.
const DEEPEST_BLOCKS: usize = 10_000;
/// Modules and components, wherever they are nested: an interpreter is linked from some twenty.
const MOST_PARTS: u64 = 500;
/// What a start makes of modules and components.
const MOST_INSTANCES: u64 = 1_000;
/// What the program keeps for the functions and globals of all instances of a start, in bytes.
const MOST_INSTANCE_BYTES: u64 = 16 << 20;
/// Of all modules together.
const MOST_FUNCTIONS: u64 = 100_000;
const MOST_GLOBALS: u64 = 50_000;
const MOST_TYPES: u64 = 50_000;
const MOST_ELEMENTS: u64 = 200_000;
/// Go's linker makes ten thousand for each MiB.
const MOST_SEGMENTS: u64 = 200_000;
const MOST_NAMES: u64 = 200_000;
/// In bytes; Python's interpreter has one of 400 KiB.
const LONGEST_FUNCTION: u64 = 2 << 20;

/// Why a component is not even compiled.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// No compiler of honest code comes near the limit.
    #[error("it has more than {most} {what}")]
    TooMuch {
        /// The limit.
        most: u64,
        /// Of what.
        what: &'static str,
    },
    /// How many instances there will be can't be told beforehand.
    #[error("it instantiates a module or component that it is given or hands around, and not one that it defines")]
    Foreign,
    /// It is no component, or one of proposals that are off.
    #[error("{0}")]
    Invalid(String),
    /// There is no thread to be had.
    #[error("there is no thread to look at it in: {0}")]
    Thread(String),
}

impl From<BinaryReaderError> for Unfit {
    fn from(error: BinaryReaderError) -> Self {
        Self::Invalid(error.to_string())
    }
}

/// Whether the component in `bytes` may be compiled. On a thread of its own, whose stack is known to suffice.
pub fn check(bytes: &[u8]) -> Result<(), Unfit> {
    thread::scope(|scope| {
        let looking = thread::Builder::new().name("component-check".to_owned()).stack_size(STACK);
        let looking =
            looking.spawn_scoped(scope, || look_at(bytes)).map_err(|error| Unfit::Thread(error.to_string()))?;
        looking.join().unwrap_or_else(|_| Err(Unfit::Invalid("the validator broke down over it".to_owned())))
    })
}

fn look_at(bytes: &[u8]) -> Result<(), Unfit> {
    let features = features();
    let (mut parser, mut validator) = (Parser::new(0), Validator::new_with_features(features));
    parser.set_features(features);
    let mut counts = Counts::default();
    for payload in parser.parse_all(bytes) {
        let payload = payload?;
        counts.count(&payload)?;
        // Functions are validated by the compiler, which has to go through them anyway.
        validator.payload(&payload)?;
    }
    Ok(())
}

/// What plugins may use, in the terms of another release of the parser.
fn features() -> WasmFeatures {
    engine_config::features().iter_names().filter_map(|(name, _)| WasmFeatures::from_name(name)).collect()
}

/// What is there so far.
#[derive(Default)]
struct Counts {
    /// What is being read, outermost first.
    open: Vec<Part>,
    parts: u64,
    functions: u64,
    globals: u64,
    types: u64,
    elements: u64,
    segments: u64,
    names: u64,
}

/// A module or a component.
#[derive(Default)]
struct Part {
    is_component: bool,
    /// What one instance of it is.
    instance: Weight,
    /// Of each module and each component that it defines, imports or aliases, by index; none where that is not known.
    modules: Vec<Option<Weight>>,
    components: Vec<Option<Weight>>,
}

#[derive(Clone, Copy, Default)]
struct Weight {
    instances: u64,
    bytes: u64,
}

impl AddAssign for Weight {
    fn add_assign(&mut self, other: Self) {
        self.instances = self.instances.saturating_add(other.instances);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

/// What the runtime has in each instance, in bytes: a reference to a function, a global.
const FUNCTION_BYTES: u64 = 32;
const GLOBAL_BYTES: u64 = 16;

fn bounded(count: &mut u64, more: impl Into<u64>, most: u64, what: &'static str) -> Result<(), Unfit> {
    *count = count.saturating_add(more.into());
    if *count > most { Err(Unfit::TooMuch { most, what }) } else { Ok(()) }
}

impl Counts {
    fn count(&mut self, payload: &Payload<'_>) -> Result<(), Unfit> {
        match payload {
            Payload::Version { encoding, .. } => self.begin(*encoding == wasmparser::Encoding::Component),
            Payload::End(_) => {
                self.end();
                Ok(())
            }
            Payload::TypeSection(types) => bounded(&mut self.types, types.count(), MOST_TYPES, "types"),
            Payload::CoreTypeSection(types) => bounded(&mut self.types, types.count(), MOST_TYPES, "types"),
            Payload::ComponentTypeSection(types) => bounded(&mut self.types, types.count(), MOST_TYPES, "types"),
            Payload::ImportSection(imports) => {
                let count = u64::from(imports.count());
                self.weigh(count.saturating_mul(FUNCTION_BYTES));
                bounded(&mut self.names, count, MOST_NAMES, "imports and exports")
            }
            Payload::FunctionSection(functions) => {
                let count = u64::from(functions.count());
                self.weigh(count.saturating_mul(FUNCTION_BYTES));
                bounded(&mut self.functions, count, MOST_FUNCTIONS, "functions")
            }
            Payload::GlobalSection(globals) => {
                let count = u64::from(globals.count());
                self.weigh(count.saturating_mul(GLOBAL_BYTES));
                bounded(&mut self.globals, count, MOST_GLOBALS, "globals")
            }
            Payload::ExportSection(exports) => {
                bounded(&mut self.names, exports.count(), MOST_NAMES, "imports and exports")
            }
            Payload::DataSection(segments) => {
                bounded(&mut self.segments, segments.count(), MOST_SEGMENTS, "segments of data and elements")
            }
            Payload::ElementSection(segments) => {
                bounded(&mut self.segments, segments.count(), MOST_SEGMENTS, "segments of data and elements")?;
                for segment in segments.clone() {
                    let count = match segment?.items {
                        ElementItems::Functions(functions) => functions.count(),
                        ElementItems::Expressions(_, expressions) => expressions.count(),
                    };
                    bounded(&mut self.elements, count, MOST_ELEMENTS, "elements in segments of tables")?;
                }
                Ok(())
            }
            Payload::CodeSectionEntry(body) => body_fits(body),
            Payload::InstanceSection(instances) => {
                for instance in instances.clone() {
                    let weight = match instance? {
                        Instance::Instantiate { module_index, .. } => {
                            self.part().and_then(|part| known(&part.modules, module_index))
                        }
                        Instance::FromExports(_) => Some(Weight::default()),
                    };
                    self.instantiate(weight)?;
                }
                Ok(())
            }
            Payload::ComponentInstanceSection(instances) => {
                for instance in instances.clone() {
                    let weight = match instance? {
                        ComponentInstance::Instantiate { component_index, .. } => {
                            self.part().and_then(|part| known(&part.components, component_index))
                        }
                        ComponentInstance::FromExports(_) => Some(Weight::default()),
                    };
                    self.instantiate(weight)?;
                }
                Ok(())
            }
            Payload::ComponentAliasSection(aliases) => {
                bounded(&mut self.names, aliases.count(), MOST_NAMES, "imports and exports")?;
                for alias in aliases.clone() {
                    self.alias(&alias?);
                }
                Ok(())
            }
            Payload::ComponentImportSection(imports) => {
                bounded(&mut self.names, imports.count(), MOST_NAMES, "imports and exports")?;
                for import in imports.clone() {
                    match import?.ty {
                        ComponentTypeRef::Module(_) => self.name_module(None),
                        ComponentTypeRef::Component(_) => self.name_component(None),
                        _ => {}
                    }
                }
                Ok(())
            }
            Payload::ComponentExportSection(exports) => {
                bounded(&mut self.names, exports.count(), MOST_NAMES, "imports and exports")?;
                // What is exported gets an index of its own besides.
                for export in exports.clone() {
                    let export = export?;
                    match export.kind {
                        ComponentExternalKind::Module => {
                            let weight = self.part().and_then(|part| known(&part.modules, export.index));
                            self.name_module(weight);
                        }
                        ComponentExternalKind::Component => {
                            let weight = self.part().and_then(|part| known(&part.components, export.index));
                            self.name_component(weight);
                        }
                        _ => {}
                    }
                }
                Ok(())
            }
            Payload::ComponentCanonicalSection(functions) => {
                bounded(&mut self.functions, functions.count(), MOST_FUNCTIONS, "functions")
            }
            _ => Ok(()),
        }
    }

    fn begin(&mut self, is_component: bool) -> Result<(), Unfit> {
        bounded(&mut self.parts, 1_u32, MOST_PARTS, "modules and components in it")?;
        if self.open.len() >= DEEPEST_NESTING {
            return Err(Unfit::TooMuch { most: DEEPEST_NESTING as u64, what: "components nested in each other" });
        }
        self.open.push(Part { is_component, instance: Weight { instances: 1, bytes: 0 }, ..Part::default() });
        Ok(())
    }

    fn end(&mut self) {
        let Some(ended) = self.open.pop() else { return };
        if ended.is_component {
            self.name_component(Some(ended.instance));
        } else {
            self.name_module(Some(ended.instance));
        }
    }

    fn part(&self) -> Option<&Part> {
        self.open.last()
    }

    fn weigh(&mut self, bytes: u64) {
        if let Some(part) = self.open.last_mut() {
            part.instance += Weight { instances: 0, bytes };
        }
    }

    fn name_module(&mut self, weight: Option<Weight>) {
        if let Some(part) = self.open.last_mut() {
            part.modules.push(weight);
        }
    }

    fn name_component(&mut self, weight: Option<Weight>) {
        if let Some(part) = self.open.last_mut() {
            part.components.push(weight);
        }
    }

    /// Adds an instance to those that each instance of the component has.
    fn instantiate(&mut self, weight: Option<Weight>) -> Result<(), Unfit> {
        let weight = weight.ok_or(Unfit::Foreign)?;
        let Some(part) = self.open.last_mut() else { return Ok(()) };
        part.instance += Weight { instances: weight.instances.max(1), ..weight };
        let Weight { instances, bytes } = part.instance;
        if instances > MOST_INSTANCES {
            return Err(Unfit::TooMuch { most: MOST_INSTANCES, what: "instances" });
        }
        if bytes > MOST_INSTANCE_BYTES {
            let what = "bytes of functions and globals in its instances";
            return Err(Unfit::TooMuch { most: MOST_INSTANCE_BYTES, what });
        }
        Ok(())
    }

    fn alias(&mut self, alias: &ComponentAlias<'_>) {
        match alias {
            ComponentAlias::InstanceExport { kind: ComponentExternalKind::Module, .. } => self.name_module(None),
            ComponentAlias::InstanceExport { kind: ComponentExternalKind::Component, .. } => self.name_component(None),
            ComponentAlias::Outer { kind, count, index } => {
                let outer = usize::try_from(*count).ok().and_then(|count| self.open.iter().rev().nth(count));
                match kind {
                    ComponentOuterAliasKind::CoreModule => {
                        let weight = outer.and_then(|outer| known(&outer.modules, *index));
                        self.name_module(weight);
                    }
                    ComponentOuterAliasKind::Component => {
                        let weight = outer.and_then(|outer| known(&outer.components, *index));
                        self.name_component(weight);
                    }
                    ComponentOuterAliasKind::CoreType | ComponentOuterAliasKind::Type => {}
                }
            }
            _ => {}
        }
    }
}

fn known(weights: &[Option<Weight>], index: u32) -> Option<Weight> {
    weights.get(usize::try_from(index).ok()?).copied().flatten()
}

fn body_fits(body: &wasmparser::FunctionBody<'_>) -> Result<(), Unfit> {
    let range = body.range();
    if range.end.saturating_sub(range.start) > LONGEST_FUNCTION {
        return Err(Unfit::TooMuch { most: LONGEST_FUNCTION, what: "bytes in one function" });
    }
    let mut open = 0_usize;
    for operator in body.get_operators_reader()? {
        match operator? {
            Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => open += 1,
            Operator::End => open = open.saturating_sub(1),
            _ => {}
        }
        if open > DEEPEST_BLOCKS {
            return Err(Unfit::TooMuch { most: DEEPEST_BLOCKS as u64, what: "blocks nested in each other" });
        }
    }
    Ok(())
}
