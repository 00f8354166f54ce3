//! The JSON Schema of a whole configuration, made of the reader's own keys and of what the packs registered.
//!
//! Draft-07, and one branch of `oneOf` per type with its name as a constant: the TOML editors' language server (taplo, in "Even Better TOML")
//! validates drafts 4 to 7, and follows `oneOf` but not `if` when it completes keys and shows documentation.

use csf_resilience::Section;
use schemars::generate::SchemaSettings;
use schemars::transform::{RecursiveTransform, Transform};
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::keys::{self, Form, Key};
use crate::pack::{Catalogue, ComponentType, OutgoingCall, OutputPort, ServiceType};

/// The schema of a configuration for what `catalogue` holds. Types of `open_pack`, where one is named, are admitted with any options: those
/// of a pack that is still being written.
///
/// It says of a file what can be said without looking across it: keys, kinds, limits, types and their options and outputs. Whether names
/// refer to something is for `csf validate`.
#[must_use]
pub fn json_schema(catalogue: &Catalogue, open_pack: Option<&str>) -> Value {
    let mut generator = SchemaSettings::draft07().into_generator();
    let services: Vec<Value> = catalogue.services.values().map(|kind| service(kind, &mut generator)).collect();
    let components: Vec<Value> = catalogue.components.values().map(|kind| component(kind, &mut generator)).collect();
    let guard = generator.subschema_for::<Section>().to_value();
    let mut definitions = generator.take_definitions(false);
    definitions.insert("guard".to_owned(), guard);
    definitions.insert("service".to_owned(), one_of(services, keys::SERVICE, open_pack));
    definitions.insert("component".to_owned(), one_of(components, keys::COMPONENT, open_pack));
    let mut root = object(keys::ROOT);
    root.insert("$schema".to_owned(), json!("http://json-schema.org/draft-07/schema#"));
    root.insert("title".to_owned(), json!("ChronoFabric configuration (csf.toml)"));
    root.insert("definitions".to_owned(), Value::Object(definitions));
    let mut schema = Schema::from(root);
    for transform in generator.transforms_mut() {
        transform.transform(&mut schema);
    }
    RecursiveTransform(without_null).transform(&mut schema);
    schema.to_value()
}

/// TOML has no null: what is absent is left out.
fn without_null(schema: &mut Schema) {
    if schema.get("default").is_some_and(Value::is_null) {
        schema.remove("default");
    }
    if let Some(Value::Array(kinds)) = schema.get_mut("type") {
        kinds.retain(|kind| kind != "null");
        if let [only] = kinds.as_slice() {
            let only = only.clone();
            schema.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(choices)) = schema.get_mut("anyOf") {
        choices.retain(|choice| choice["type"] != "null");
    }
    if let Some(Value::Array(values)) = schema.get_mut("enum") {
        values.retain(|value| !value.is_null());
    }
}

fn object(known: &[Key]) -> Map<String, Value> {
    let properties: Map<String, Value> = known.iter().map(|key| (key.name.to_owned(), property(key))).collect();
    let mut object = Map::new();
    object.insert("type".to_owned(), json!("object"));
    object.insert("properties".to_owned(), Value::Object(properties));
    object.insert("additionalProperties".to_owned(), json!(false));
    object
}

fn property(key: &Key) -> Value {
    let mut schema = form(key.form);
    schema["description"] = json!(key.doc);
    if let Ok(default) = serde_json::from_str::<Value>(key.default) {
        schema["default"] = default;
    }
    schema
}

fn form(form: Form) -> Value {
    let named = |each: Value| json!({ "type": "object", "additionalProperties": each });
    match form {
        Form::Text => json!({ "type": "string" }),
        Form::Time => json!({ "type": "string", "pattern": csf_core::span::PATTERN }),
        Form::TimeOrFalse => {
            json!({ "anyOf": [{ "type": "string", "pattern": csf_core::span::PATTERN }, { "const": false }] })
        }
        Form::Count((least, most)) => json!({ "type": "integer", "minimum": least, "maximum": most }),
        Form::Number(least, most) => json!({ "type": "number", "minimum": least, "maximum": most }),
        Form::Choice(names) => json!({ "type": "string", "enum": names }),
        Form::Texts => json!({ "type": "array", "items": { "type": "string" } }),
        Form::Ports => named(json!({ "type": "string" })),
        Form::Table(known) => Value::Object(object(known)),
        Form::TableOrFalse(known) => json!({ "anyOf": [object(known), { "const": false }] }),
        Form::Named(known) => named(Value::Object(object(known))),
        Form::Services => named(json!({ "$ref": "#/definitions/service" })),
        Form::Components => named(json!({ "$ref": "#/definitions/component" })),
        Form::Guards => named(json!({ "$ref": "#/definitions/guard" })),
        Form::GuardOfCalls => json!({ "anyOf": [{ "type": "string" }, named(json!({ "type": "string" }))] }),
    }
}

fn service(kind: &ServiceType, generator: &mut SchemaGenerator) -> Value {
    let mut schema = typed(keys::SERVICE, &kind.name, kind.doc, &kind.writes, &(kind.schema)(generator));
    let guards = &mut schema["properties"]["resilience"];
    if kind.calls.is_empty() {
        *guards = json!({ "not": {}, "description": "This type makes no outgoing calls." });
    } else {
        let call = |call: &OutgoingCall| (call.name.to_owned(), json!({ "type": "string", "description": call.doc }));
        let calls: Map<String, Value> = kind.calls.iter().map(call).collect();
        guards["anyOf"][1] = json!({ "type": "object", "properties": calls, "additionalProperties": false });
    }
    schema
}

fn component(kind: &ComponentType, generator: &mut SchemaGenerator) -> Value {
    typed(keys::COMPONENT, &kind.name, kind.doc, &kind.writes, &(kind.schema)(generator))
}

/// The common keys, the type's outputs and its options. Options that are no plain struct are admitted as they come.
fn typed(known: &[Key], name: &str, doc: &str, ports: &[OutputPort], options: &Schema) -> Value {
    let mut schema = Value::Object(object(known));
    schema["title"] = json!(name);
    schema["description"] = json!(doc);
    schema["required"] = json!(["type"]);
    schema["properties"]["type"] = json!({ "const": name, "description": doc });
    let port = |port: &OutputPort| {
        let carries = format!("The topic of this output; it carries {}.", port.message.full_name());
        (port.port.to_owned(), json!({ "type": "string", "description": carries }))
    };
    let outputs: Map<String, Value> = ports.iter().map(port).collect();
    schema["properties"]["writes"]["properties"] = Value::Object(outputs);
    schema["properties"]["writes"]["additionalProperties"] = json!(false);
    let is_closed = options.get("additionalProperties") == Some(&json!(false));
    let is_plain = !["oneOf", "anyOf", "allOf", "$ref"].iter().any(|key| options.get(*key).is_some());
    if !(is_closed && is_plain) {
        schema["additionalProperties"] = json!(true);
    }
    for (name, option) in options.get("properties").and_then(Value::as_object).into_iter().flatten() {
        // A common key wins: the reader takes it before the options are read.
        if !known.iter().any(|key| key.name == name) {
            schema["properties"][name] = option.clone();
        }
    }
    let required = options.get("required").and_then(Value::as_array).into_iter().flatten();
    if let Some(list) = schema["required"].as_array_mut() {
        list.extend(required.cloned());
    }
    schema
}

fn one_of(mut types: Vec<Value>, known: &[Key], open_pack: Option<&str>) -> Value {
    if let Some(pack) = open_pack {
        let mut open = Value::Object(object(known));
        open["title"] = json!(format!("{pack}.…"));
        open["required"] = json!(["type"]);
        open["properties"]["type"]["pattern"] = json!(format!("^{pack}\\."));
        open["additionalProperties"] = json!(true);
        types.push(open);
    }
    json!({ "type": "object", "oneOf": types })
}
