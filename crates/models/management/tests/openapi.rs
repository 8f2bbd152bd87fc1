//! The description of the API, made from the table of operations and the resources' schemas, against
//! `src/openapi.json`, which hostd serves (rule `golden`).
//!
//! After a wanted change: `BLESS=1 cargo test -p management --test openapi`, and look at the difference.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use api::host::Vm as VmConfiguration;
use api::rest::*;
use management::http::Method;
use management::route::{Access, PARAMETERS, ROUTES, Route, Takes};
use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};
use std::path::Path;

macro_rules! schemas {
    ($($type:ty),* $(,)?) => {
        /// The schema of a resource, by the name that the table has for it.
        fn schema(generator: &mut SchemaGenerator, name: &str) -> Value {
            match name {
                $(name if name == stringify!($type).replace(' ', "") => generator.subschema_for::<$type>().into(),)*
                _ => panic!("no resource is called {name}: add it to the table of this file"),
            }
        }
    };
}

schemas!(
    ApiRoot,
    AuditPage,
    Datastore,
    Event,
    History,
    HostCertificate,
    HostNetwork,
    HostPowerRequest,
    HostSettings,
    HostSettingsState,
    HostState,
    HostTime,
    List<Disk>,
    List<LockOut>,
    List<Object>,
    List<OpenSession>,
    List<Snapshot>,
    List<Task>,
    List<Token>,
    List<Upload>,
    List<User>,
    List<Vm>,
    List<Volume>,
    Login,
    LogPage,
    MadeToken,
    Network,
    NewClone,
    NewDatastore,
    NewImport,
    NewSeed,
    NewSnapshot,
    NewToken,
    NewUpload,
    NewUser,
    NewVolume,
    PasswordChange,
    PowerRequest,
    ProblemDetails,
    Session,
    Snapshot,
    Task,
    Token,
    Upload,
    User,
    UserChange,
    VmConfiguration,
    VmDetail,
    VmLog,
    VmStatistics,
    Volume,
    VolumeChange,
);

/// Header lines that an operation takes: name, needed, schema, meaning.
fn headers(route: &Route) -> Vec<(&'static str, bool, Value, &'static str)> {
    let mut headers = Vec::new();
    match route.name {
        "ChangeVm" | "ChangeSettings" => {
            headers.push(("If-Match", true, json!({ "type": "string" }), "The ETag of what is changed"))
        }
        "SendUpload" => {
            let schema = json!({ "type": "integer", "minimum": 0 });
            headers.push(("Upload-Offset", true, schema, "Where the piece starts"));
        }
        "WatchEvents" => {
            let schema = json!({ "type": "integer", "minimum": 0 });
            headers.push(("Last-Event-ID", false, schema, "Id of the last event seen"));
        }
        "DownloadObject" => headers.push(("Range", false, json!({ "type": "string" }), "One range of bytes")),
        _ => {}
    }
    if route.is_idempotent() {
        let schema = json!({ "type": "string", "minLength": 1, "maxLength": 64 });
        headers.push(("Idempotency-Key", false, schema, "The same key gives the same answer for an hour"));
    }
    headers
}

fn parameters(route: &Route) -> Vec<Value> {
    let mut parameters = Vec::new();
    for segment in route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
        let schema = match segment {
            "volume" | "snapshot" => json!({ "type": "integer", "minimum": 0 }),
            "console" => json!({ "type": "string", "enum": ["uart", "virtio"] }),
            _ => json!({ "type": "string", "minLength": 1 }),
        };
        parameters.push(json!({ "name": segment, "in": "path", "required": true, "schema": schema }));
    }
    for name in route.query {
        let (_, kind, what) =
            PARAMETERS.iter().find(|(known, ..)| known == name).expect("a row of the table");
        let schema = match *kind {
            "integer" => json!({ "type": "integer", "minimum": 0 }),
            kind => json!({ "type": kind }),
        };
        parameters.push(json!({ "name": name, "in": "query", "description": what, "schema": schema }));
    }
    for (name, required, schema, what) in headers(route) {
        parameters.push(
            json!({ "name": name, "in": "header", "required": required, "description": what, "schema": schema }),
        );
    }
    parameters
}

fn operation(generator: &mut SchemaGenerator, route: &Route) -> Value {
    let (status, gives) = route.gives;
    let content = match gives {
        "" => None,
        "bytes" => Some(json!({ "application/octet-stream": {} })),
        "tar" => Some(json!({ "application/x-tar": {} })),
        "text" => Some(json!({ "text/plain": { "schema": { "type": "string" } } })),
        "events" => {
            schema(generator, "Event");
            Some(json!({ "text/event-stream": { "schema": { "type": "string" } } }))
        }
        "OpenApi" => Some(json!({ "application/json": { "schema": { "type": "object" } } })),
        name => Some(json!({ "application/json": { "schema": schema(generator, name) } })),
    };
    let mut success = json!({ "description": "Done" });
    if let Some(content) = content {
        success["content"] = content;
    }
    let problem = json!({ "$ref": "#/components/responses/Problem" });
    let mut operation = json!({
        "operationId": route.name,
        "summary": route.summary,
        "tags": [route.path.trim_start_matches("/api/v1").split('/').nth(1).unwrap_or("root")],
        "parameters": parameters(route),
        "responses": { status.to_string(): success, "default": problem },
    });
    if route.name == "DownloadObject" {
        operation["responses"]["206"] =
            json!({ "description": "A part", "content": { "application/octet-stream": {} } });
    }
    if matches!(route.name, "WatchEvents" | "OpenConsole") {
        operation["responses"]["101"] = json!({ "description": "A WebSocket" });
    }
    let body = match route.takes {
        Takes::Nothing => None,
        Takes::Json(name) => Some(json!({ "application/json": { "schema": schema(generator, name) } })),
        Takes::Bytes => Some(json!({ "application/octet-stream": {} })),
    };
    if let Some(content) = body {
        operation["requestBody"] = json!({ "required": true, "content": content });
    }
    match route.access {
        Access::Open => operation["security"] = json!([]),
        Access::Login => operation["x-role"] = json!("any"),
        Access::Role(role) => operation["x-role"] = json!(role),
    }
    operation
}

fn document() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    let mut paths = Map::new();
    for route in ROUTES {
        let item = paths.entry(route.path).or_insert_with(|| json!({}));
        item[route.method.name().to_lowercase()] = operation(&mut generator, route);
    }
    let problem = schema(&mut generator, "ProblemDetails");
    let schemas = generator.take_definitions(true);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Bramble",
            "version": "1",
            "summary": "One host: its VMs, storage, users",
            "license": { "name": "Apache-2.0 OR MIT", "identifier": "Apache-2.0 OR MIT" },
        },
        "servers": [{ "url": "/" }],
        "security": [{ "token": [] }, { "session": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": { "Problem": {
                "description": "Why it was refused, or failed, and what to do (RFC 9457)",
                "content": { "application/problem+json": { "schema": problem } },
            } },
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer", "description": "A token of POST /api/v1/tokens" },
                "session": {
                    "type": "apiKey", "in": "cookie", "name": "__Host-bramble",
                    "description": "Of POST /api/v1/session; changes need its csrf as X-Bramble-CSRF",
                },
            },
        },
    })
}

#[test]
fn the_description_is_what_hostd_serves() {
    let text = serde_json::to_string(&document()).unwrap() + "\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/openapi.json");
    // A line for each path and schema: so that a difference can be read.
    let text = text.replace(",\"/", ",\n\"/").replace("},\"", "},\n\"");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap();
    assert!(golden == text, "src/openapi.json is of another table: see the first lines of this file");
}

#[test]
fn every_reference_leads_somewhere() {
    let document = document();
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1) {
        let pointer = reference.split('"').next().unwrap();
        assert!(document.pointer(pointer).is_some(), "{pointer}");
    }
    assert!(ROUTES.iter().all(|route| route.method != Method::Head && route.method != Method::Options));
}
