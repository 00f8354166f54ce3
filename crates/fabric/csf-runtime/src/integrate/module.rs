//! Modules with a configuration, a state and messages, found by their type (FRM-014).

use std::any::{Any, TypeId, type_name};
use std::collections::HashMap;

/// A part with a state that only its messages change. `S` is the system it is part of.
pub trait Module<S>: 'static {
    /// How it is set up.
    type Config;
    /// What it keeps.
    type State: Send + 'static;
    /// What it is told.
    type Message;
    /// What it answers.
    type Response;
    /// Why it fails.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Its first state.
    ///
    /// # Errors
    /// Why it cannot begin.
    fn initialize(config: Self::Config, system: &S) -> Result<Self::State, Self::Error>;

    /// Handles one message: the only place where the state changes.
    ///
    /// # Errors
    /// Why it did not.
    fn handle_message(message: Self::Message, state: &mut Self::State) -> Result<Self::Response, Self::Error>;
}

/// A refused request to a registry.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModuleError {
    /// The module is there already.
    #[error("module `{module}` is registered already")]
    Registered {
        /// Its type.
        module: &'static str,
    },
    /// There is no such module.
    #[error("module `{module}` is not registered")]
    Unknown {
        /// Its type.
        module: &'static str,
    },
    /// The module's own reason.
    #[error("module `{module}`: {source}")]
    Failed {
        /// Its type.
        module: &'static str,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// The modules of one system, by type. Their states are reached through [`ModuleRegistry::handle`], and read through
/// [`ModuleRegistry::state`]. A configuration of another module does not compile:
///
/// ```compile_fail,E0308
/// # use csf_runtime::integrate::{Module, ModuleRegistry};
/// # use std::convert::Infallible;
/// struct Radar;
/// struct RadarConfig;
/// struct LampConfig;
/// impl Module<()> for Radar {
///     type Config = RadarConfig;
///     type State = u32;
///     type Message = u32;
///     type Response = u32;
///     type Error = Infallible;
///     fn initialize(_: RadarConfig, _: &()) -> Result<u32, Infallible> { Ok(0) }
///     fn handle_message(by: u32, state: &mut u32) -> Result<u32, Infallible> { *state += by; Ok(*state) }
/// }
/// let mut modules = ModuleRegistry::new(());
/// modules.register::<Radar>(LampConfig).unwrap();
/// ```
pub struct ModuleRegistry<S> {
    system: S,
    states: HashMap<TypeId, Box<dyn Any + Send>>,
}

impl<S> ModuleRegistry<S> {
    /// Without modules.
    pub fn new(system: S) -> Self {
        Self { system, states: HashMap::new() }
    }

    /// Adds a module in its first state.
    ///
    /// # Errors
    /// [`ModuleError::Registered`], [`ModuleError::Failed`].
    pub fn register<M: Module<S>>(&mut self, config: M::Config) -> Result<(), ModuleError> {
        let module = type_name::<M>();
        if self.states.contains_key(&TypeId::of::<M>()) {
            return Err(ModuleError::Registered { module });
        }
        let state =
            M::initialize(config, &self.system).map_err(|e| ModuleError::Failed { module, source: Box::new(e) })?;
        self.states.insert(TypeId::of::<M>(), Box::new(state));
        Ok(())
    }

    /// Gives a module a message.
    ///
    /// # Errors
    /// [`ModuleError::Unknown`], [`ModuleError::Failed`].
    pub fn handle<M: Module<S>>(&mut self, message: M::Message) -> Result<M::Response, ModuleError> {
        let module = type_name::<M>();
        let state = self.states.get_mut(&TypeId::of::<M>()).and_then(|state| state.downcast_mut::<M::State>());
        let state = state.ok_or(ModuleError::Unknown { module })?;
        M::handle_message(message, state).map_err(|e| ModuleError::Failed { module, source: Box::new(e) })
    }

    /// A module's state, to look at.
    #[must_use]
    pub fn state<M: Module<S>>(&self) -> Option<&M::State> {
        self.states.get(&TypeId::of::<M>())?.downcast_ref()
    }
}
