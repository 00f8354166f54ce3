//! Packs and their registration: what component and service types exist, what they read and write, how they are made.

use std::collections::BTreeMap;
use std::sync::Arc;

use csf_bus::{EffectWriter, PhaseCoherenceBus, TopicError, TopicSpec};
use csf_core::{Component, Message, MessageType};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;

use crate::config::{Item, Problem, Promises, read_plain};
use crate::service::Service;

/// Name and purpose of a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Short name, also the first segment of its types' names.
    pub name: &'static str,
    /// One line for people.
    pub doc: &'static str,
}

/// A domain: its types are registered by a plain function and used by name from the configuration.
pub trait Pack: Send + Sync {
    /// Name and purpose.
    fn manifest(&self) -> Manifest;

    /// Declares component and service types.
    fn register(&self, registrar: &mut Registrar<'_>);
}

/// Plain-data configuration of a component or service type.
pub trait Options: DeserializeOwned + JsonSchema + Send + 'static {
    /// All that is wrong with the values, one sentence each; empty when usable.
    fn validate(&self) -> Vec<String> {
        Vec::new()
    }
}

/// No options at all.
#[derive(Clone, Copy, Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoOptions {}

impl Options for NoOptions {}

/// Opens an effect lane on a topic, under an author's name.
pub type EffectOpener = fn(&PhaseCoherenceBus, &str, &str) -> Result<Box<dyn EffectWriter>, TopicError>;

/// A component's output as its type declares it.
#[derive(Clone)]
pub struct OutputPort {
    /// The key in `writes`.
    pub port: &'static str,
    /// What it carries.
    pub message: MessageType,
    /// The topic's declaration.
    pub spec: fn(&str) -> TopicSpec,
    /// Opens the output's lane.
    pub open: EffectOpener,
}

impl OutputPort {
    fn of<T: Message>(port: &'static str) -> Self {
        Self {
            port,
            message: MessageType::of::<T>(),
            spec: |topic| TopicSpec::new::<T>(topic),
            open: |bus, topic, author| bus.effect_writer::<T>(topic, author),
        }
    }
}

/// A call to the outside that a service makes, as its type declares it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutgoingCall {
    /// Its name in `resilience = { NAME = "…" }` and for [`crate::ServiceContext::guard`].
    pub name: &'static str,
    /// One line for people.
    pub doc: &'static str,
}

/// An operation that others may ask of a part, as its type declares it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Its name in the service registry.
    pub operation: &'static str,
    /// One line for people.
    pub doc: &'static str,
}

/// What every part of a type offers; a configuration may add to it and promise otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offers {
    /// Operations.
    pub operations: Vec<Offer>,
    /// How well they are answered.
    pub promises: Promises,
}

type Make<M> = Arc<dyn Fn(&Item) -> Result<M, Vec<Problem>> + Send + Sync>;

/// Makes a fresh component; called at start and at each restart.
pub type ComponentFactory = Arc<dyn Fn() -> Box<dyn Component> + Send + Sync>;
/// Makes a fresh service; called at start and at each restart.
pub type ServiceFactory = Arc<dyn Fn() -> Box<dyn Service> + Send + Sync>;

/// A registered component type.
#[derive(Clone)]
pub struct ComponentType {
    /// `pack.words`.
    pub name: String,
    /// The pack that brought it.
    pub pack: &'static str,
    /// One line for people.
    pub doc: &'static str,
    /// Message types it understands; empty means any.
    pub reads: Vec<MessageType>,
    /// Its outputs.
    pub writes: Vec<OutputPort>,
    /// JSON Schema of its options, with what it refers to among the generator's definitions.
    pub schema: fn(&mut SchemaGenerator) -> Schema,
    /// Reads the options, then makes components.
    pub make: Make<ComponentFactory>,
    /// What others may ask of it.
    pub offers: Offers,
}

/// A registered service type.
#[derive(Clone)]
pub struct ServiceType {
    /// `pack.words`.
    pub name: String,
    /// The pack that brought it.
    pub pack: &'static str,
    /// One line for people.
    pub doc: &'static str,
    /// Its outputs.
    pub writes: Vec<OutputPort>,
    /// JSON Schema of its options, with what it refers to among the generator's definitions.
    pub schema: fn(&mut SchemaGenerator) -> Schema,
    /// Reads the options, then makes services.
    pub make: Make<ServiceFactory>,
    /// Its calls to the outside that a guard can stand around.
    pub calls: Vec<OutgoingCall>,
    /// What takes its place in a simulated world; `None` when nothing does.
    pub simulated: Option<Make<ServiceFactory>>,
    /// What others may ask of it.
    pub offers: Offers,
}

/// Everything the packs brought.
#[derive(Clone, Default)]
pub struct Catalogue {
    /// Packs in order of registration.
    pub packs: Vec<Manifest>,
    /// Component types by name.
    pub components: BTreeMap<String, ComponentType>,
    /// Service types by name.
    pub services: BTreeMap<String, ServiceType>,
    /// Message types by `name@version`, to decode what the journal holds.
    pub messages: BTreeMap<String, MessageType>,
}

impl Catalogue {
    /// Registers all packs.
    #[must_use]
    pub fn of<'p>(packs: impl IntoIterator<Item = &'p Box<dyn Pack>>) -> Self {
        let mut catalogue = Self::default();
        catalogue.message::<crate::Delivery>();
        for pack in packs {
            let manifest = pack.manifest();
            catalogue.packs.push(manifest);
            pack.register(&mut Registrar { catalogue: &mut catalogue, manifest });
        }
        catalogue
    }

    fn message<T: Message>(&mut self) {
        let message = MessageType::of::<T>();
        self.messages.insert(message.full_name(), message);
    }
}

/// A pack's way to declare its types.
pub struct Registrar<'a> {
    catalogue: &'a mut Catalogue,
    manifest: Manifest,
}

impl Registrar<'_> {
    /// Declares the component type `{pack}.{name}`; `make` is called at start and at each restart.
    pub fn component<O, C>(&mut self, name: &str, doc: &'static str, make: fn(&O) -> C) -> ComponentBuilder<'_>
    where
        O: Options + Sync,
        C: Component + 'static,
    {
        let kind = ComponentType {
            name: format!("{}.{name}", self.manifest.name),
            pack: self.manifest.name,
            doc,
            reads: Vec::new(),
            writes: Vec::new(),
            schema: |generator| O::json_schema(generator),
            make: Arc::new(move |item| {
                let options = Arc::new(read_options::<O>(item)?);
                Ok(Arc::new(move || Box::new(make(&options)) as Box<dyn Component>))
            }),
            offers: Offers::default(),
        };
        ComponentBuilder { catalogue: self.catalogue, kind: Some(kind) }
    }

    /// Declares the service type `{pack}.{name}`.
    pub fn service<O, S>(&mut self, name: &str, doc: &'static str, make: fn(&O) -> S) -> ServiceBuilder<'_>
    where
        O: Options + Sync,
        S: Service + 'static,
    {
        let kind = ServiceType {
            name: format!("{}.{name}", self.manifest.name),
            pack: self.manifest.name,
            doc,
            writes: Vec::new(),
            schema: |generator| O::json_schema(generator),
            make: service_maker(make),
            calls: Vec::new(),
            simulated: None,
            offers: Offers::default(),
        };
        ServiceBuilder { catalogue: self.catalogue, kind: Some(kind) }
    }
}

/// Completes a component type; it is registered when this is dropped.
pub struct ComponentBuilder<'a> {
    catalogue: &'a mut Catalogue,
    kind: Option<ComponentType>,
}

impl ComponentBuilder<'_> {
    /// It understands `T`.
    #[must_use]
    pub fn reads<T: Message>(mut self) -> Self {
        self.catalogue.message::<T>();
        if let Some(kind) = &mut self.kind {
            kind.reads.push(MessageType::of::<T>());
        }
        self
    }

    /// It writes `T` on `port`.
    #[must_use]
    pub fn writes<T: Message>(mut self, port: &'static str) -> Self {
        self.catalogue.message::<T>();
        if let Some(kind) = &mut self.kind {
            kind.writes.push(OutputPort::of::<T>(port));
        }
        self
    }

    /// Others may ask `operation` of it: the node registers it in its service registry while it is up.
    #[must_use]
    pub fn offers(mut self, operation: &'static str, doc: &'static str) -> Self {
        if let Some(kind) = &mut self.kind {
            kind.offers.operations.push(Offer { operation, doc });
        }
        self
    }

    /// How well it answers what it offers, where the configuration does not say otherwise.
    #[must_use]
    pub fn promises(mut self, promises: Promises) -> Self {
        if let Some(kind) = &mut self.kind {
            kind.offers.promises = promises;
        }
        self
    }

    /// Registers the type.
    pub fn done(self) {}
}

impl Drop for ComponentBuilder<'_> {
    fn drop(&mut self) {
        if let Some(kind) = self.kind.take() {
            self.catalogue.components.insert(kind.name.clone(), kind);
        }
    }
}

/// Completes a service type; it is registered when this is dropped.
pub struct ServiceBuilder<'a> {
    catalogue: &'a mut Catalogue,
    kind: Option<ServiceType>,
}

impl ServiceBuilder<'_> {
    /// It writes `T` on `port`.
    #[must_use]
    pub fn writes<T: Message>(mut self, port: &'static str) -> Self {
        self.catalogue.message::<T>();
        if let Some(kind) = &mut self.kind {
            kind.writes.push(OutputPort::of::<T>(port));
        }
        self
    }

    /// It makes the outgoing call `name`, and asks [`crate::ServiceContext::guard`] for the guard around it.
    #[must_use]
    pub fn calls(mut self, name: &'static str, doc: &'static str) -> Self {
        if let Some(kind) = &mut self.kind {
            kind.calls.push(OutgoingCall { name, doc });
        }
        self
    }

    /// Its twin in a simulated world, with the same options and outputs: it sees time, waits and randomness only through its context.
    #[must_use]
    pub fn simulated<O, S>(mut self, make: fn(&O) -> S) -> Self
    where
        O: Options + Sync,
        S: Service + 'static,
    {
        if let Some(kind) = &mut self.kind {
            kind.simulated = Some(service_maker(make));
        }
        self
    }

    /// It is its own twin: it sees time, waits and randomness only through its context, and what it reads never changes.
    #[must_use]
    pub fn deterministic(mut self) -> Self {
        if let Some(kind) = &mut self.kind {
            kind.simulated = Some(kind.make.clone());
        }
        self
    }

    /// Others may ask `operation` of it: the node registers it in its service registry while it is up.
    #[must_use]
    pub fn offers(mut self, operation: &'static str, doc: &'static str) -> Self {
        if let Some(kind) = &mut self.kind {
            kind.offers.operations.push(Offer { operation, doc });
        }
        self
    }

    /// How well it answers what it offers, where the configuration does not say otherwise.
    #[must_use]
    pub fn promises(mut self, promises: Promises) -> Self {
        if let Some(kind) = &mut self.kind {
            kind.offers.promises = promises;
        }
        self
    }

    /// Registers the type.
    pub fn done(self) {}
}

impl Drop for ServiceBuilder<'_> {
    fn drop(&mut self) {
        if let Some(kind) = self.kind.take() {
            self.catalogue.services.insert(kind.name.clone(), kind);
        }
    }
}

fn service_maker<O, S>(make: fn(&O) -> S) -> Make<ServiceFactory>
where
    O: Options + Sync,
    S: Service + 'static,
{
    Arc::new(move |item| {
        let options = Arc::new(read_options::<O>(item)?);
        Ok(Arc::new(move || Box::new(make(&options)) as Box<dyn Service>))
    })
}

fn read_options<O: Options>(item: &Item) -> Result<O, Vec<Problem>> {
    let plain = read_plain::<O>(item);
    let mut problems = plain.problems;
    if let Some(options) = plain.value {
        problems.extend(options.validate().into_iter().map(|text| Problem::new("CSF-0104", text).at(&item.key)));
        if problems.is_empty() {
            return Ok(options);
        }
    }
    Err(problems)
}
