//! The control interface of the simulator, under `/__sim/`: truth, changes,
//! faults, the clock and the request log, for other processes.

use std::time::Duration;

use hyper::Method;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    Shared,
    answer::Answer,
    auth::TokenKind,
    change::{Change, ChangeError, Properties},
    config::{Limits, Quirks},
    faults::Rule,
    json,
    one_or_many::one_or_many,
    portal::Portal,
    sensitivity::Sensitivity,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Advance {
    ms: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Scope {
    object_type: String,
    granted: bool,
    #[serde(default)]
    sensitivity: Sensitivity,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Token {
    token: String,
    #[serde(default)]
    kind: TokenKind,
}

/// Answers a request of the control interface.
pub(crate) fn answer(
    shared: &Shared,
    method: &Method,
    path: &str,
    query: &str,
    body: &[u8],
) -> Answer {
    let portal_id = json::pairs(query)
        .find(|(name, _)| *name == "portal")
        .and_then(|(_, value)| value.parse().ok());
    let Some(portal) = shared.portal(portal_id) else {
        return Answer::not_found();
    };
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let get = method == Method::GET;
    let answered = match (get, parts.as_slice()) {
        (true, ["truth", name]) => truth(portal, name),
        (true, ["truth", name, "objects"]) => objects(portal, name),
        (true, ["ids", name]) => Ok(Answer::json(
            200,
            &json!({"live": portal.ids(name), "archived": portal.archived_ids(name)}),
        )),
        (true, ["requests"]) => Ok(shown(&shared.requests.counts())),
        (true, ["requests", "all"]) => Ok(shown(&shared.requests.all())),
        (false, ["requests", "clear"]) => {
            shared.requests.clear();
            Ok(done())
        }
        (true, ["now"]) => Ok(Answer::json(200, &json!({"now_ms": shared.clock.now_ms()}))),
        (true, ["faults"]) => Ok(shown(&shared.faults.waiting())),
        (false, ["faults"]) => read_list(body).map(|rules: Vec<Rule>| {
            for rule in rules {
                shared.faults.push(rule);
            }
            done()
        }),
        (false, ["faults", "clear"]) => {
            shared.faults.clear();
            Ok(done())
        }
        (false, ["advance"]) => read::<Advance>(body).map(|it| {
            shared.clock.advance(Duration::from_millis(it.ms));
            Answer::json(200, &json!({"now_ms": shared.clock.now_ms()}))
        }),
        (false, ["limits"]) => read::<Limits>(body).map(|limits| {
            portal.set_limits(limits);
            done()
        }),
        (false, ["quirks"]) => read::<Quirks>(body).map(|quirks| {
            portal.set_quirks(quirks);
            done()
        }),
        (false, ["scopes"]) => read::<Scope>(body).map(|scope| {
            match scope.sensitivity {
                Sensitivity::NonSensitive => portal.set_scope(&scope.object_type, scope.granted),
                it => portal.set_sensitive_scope(&scope.object_type, it, scope.granted),
            }
            done()
        }),
        (false, ["tokens"]) => read::<Token>(body).map(|it| {
            shared.tokens.assign(&it.token, portal.id(), it.kind);
            done()
        }),
        (false, ["changes"]) => read_list(body).and_then(|changes| apply(portal, &changes)),
        (false, ["objects", name]) => read::<Properties>(body).and_then(|properties| {
            let object_type = (*name).to_owned();
            apply(
                portal,
                &[Change::Create {
                    object_type,
                    id: None,
                    properties,
                }],
            )
        }),
        (false, ["objects", name, id, action]) => act(portal, name, id, action, body),
        _ => Err(Answer::not_found()),
    };
    answered.unwrap_or_else(|refused| refused)
}

fn act(portal: &Portal, name: &str, id: &str, action: &str, body: &[u8]) -> Result<Answer, Answer> {
    let id = id
        .parse()
        .map_err(|_not_a_number| Answer::invalid("an id is a number"))?;
    let object_type = name.to_owned();
    let change = match action {
        "update" => Change::Update {
            object_type,
            id,
            properties: read(body)?,
        },
        "calculate" => Change::Calculate {
            object_type,
            id,
            properties: read(body)?,
        },
        "archive" => Change::Archive { object_type, id },
        "restore" => Change::Restore { object_type, id },
        "erase" => Change::Erase { object_type, id },
        "merge" => {
            let other: Value = read(body)?;
            let secondary = other.get("with").and_then(Value::as_u64);
            let secondary =
                secondary.ok_or_else(|| Answer::invalid("`with` is the id of the other object"))?;
            Change::Merge {
                object_type,
                primary: id,
                secondary,
            }
        }
        _ => return Err(Answer::not_found()),
    };
    apply(portal, &[change])
}

fn apply(portal: &Portal, changes: &[Change]) -> Result<Answer, Answer> {
    let mut done = Vec::with_capacity(changes.len());
    for change in changes {
        done.push(portal.apply(change).map_err(|error| refused(&error))?);
    }
    Ok(shown(&done))
}

fn refused(error: &ChangeError) -> Answer {
    let status = match error {
        ChangeError::NoSuchType(_) | ChangeError::NoSuchObject(_) => 404,
        ChangeError::IdInUse(_) => 409,
        ChangeError::NoSuchProperty(_) => 400,
        ChangeError::Log(_) => 500,
    };
    Answer::error(status, "SIMULATOR", &error.to_string())
}

fn truth(portal: &Portal, name: &str) -> Result<Answer, Answer> {
    portal
        .truth_of(name, false)
        .map(|truth| shown(&truth))
        .ok_or_else(Answer::not_found)
}

fn objects(portal: &Portal, name: &str) -> Result<Answer, Answer> {
    let truth = portal.truth(name).ok_or_else(Answer::not_found)?;
    let mut out = Vec::new();
    for object in &truth.objects {
        if let Ok(line) = serde_json::to_vec(object) {
            out.extend_from_slice(&line);
            out.push(b'\n');
        }
    }
    Ok(Answer {
        content_type: "application/x-ndjson",
        ..Answer::rendered(out)
    })
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Answer> {
    serde_json::from_slice(body).map_err(|error| Answer::invalid(&error.to_string()))
}

fn read_list<T: DeserializeOwned>(body: &[u8]) -> Result<Vec<T>, Answer> {
    one_or_many(body).map_err(|error| Answer::invalid(&error.to_string()))
}

fn shown<T: serde::Serialize>(value: &T) -> Answer {
    match serde_json::to_vec(value) {
        Ok(body) => Answer::rendered(body),
        Err(error) => Answer::error(500, "SIMULATOR", &error.to_string()),
    }
}

fn done() -> Answer {
    Answer::json(200, &json!({"done": true}))
}
