//! A model that says what a script tells it to, over the protocol that Codex speaks (Responses, streamed as SSE).
//!
//! It keeps no state between requests: each one carries the whole conversation, so the number of tool results in it
//! tells which step is due. It keeps everything it was ever sent, so that a test can look for a secret in there.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use crate::http::{Request, Response, Server};

/// What the model asks the agent to do, one tool call after the other, and what it says at the end.
#[derive(Clone, Debug)]
pub struct Script {
    calls: Vec<Call>,
    last: String,
}

#[derive(Clone, Debug)]
enum Call {
    Run(String),
    Patch(String),
}

impl Default for Script {
    fn default() -> Self {
        Self { calls: Vec::new(), last: "Done.".to_owned() }
    }
}

impl Script {
    /// An empty script: the model only says that it is done.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Next, run a shell command.
    #[must_use]
    pub fn run(mut self, command: impl Into<String>) -> Self {
        self.calls.push(Call::Run(command.into()));
        self
    }

    /// Next, apply a patch, in Codex's own patch format.
    #[must_use]
    pub fn patch(mut self, patch: impl Into<String>) -> Self {
        self.calls.push(Call::Patch(patch.into()));
        self
    }

    /// The message that ends the turn.
    #[must_use]
    pub fn say(mut self, message: impl Into<String>) -> Self {
        self.last = message.into();
        self
    }

    /// The label that the call of this step gets: what guard should report as its `call`.
    #[must_use]
    pub fn call_id(step: usize) -> String {
        format!("call_{step}")
    }

    /// What the model answers when it has seen this many results.
    fn item(&self, step: usize) -> Value {
        let call_id = Self::call_id(step);
        match self.calls.get(step) {
            Some(Call::Run(command)) => json!({
                "type": "function_call", "name": "exec_command", "call_id": call_id,
                // Codex hands back an unfinished command's output after this time; none here takes that long.
                "arguments": json!({"cmd": command, "yield_time_ms": 20_000}).to_string(),
            }),
            Some(Call::Patch(patch)) => {
                json!({"type": "custom_tool_call", "name": "apply_patch", "call_id": call_id, "input": patch})
            }
            None => json!({
                "type": "message", "role": "assistant",
                "content": [{"type": "output_text", "text": self.last}],
            }),
        }
    }

    /// The answer to one request, as the event stream that Codex expects.
    fn answer(&self, request: &Value) -> String {
        let step = results(request).count();
        let id = format!("resp_{step}");
        let events = [
            json!({"type": "response.created", "response": {"id": id}}),
            json!({"type": "response.output_item.done", "item": self.item(step)}),
            json!({"type": "response.completed", "response": {"id": id, "usage": {
                "input_tokens": 1, "input_tokens_details": null,
                "output_tokens": 1, "output_tokens_details": null, "total_tokens": 2,
            }}}),
        ];
        events.iter().fold(String::new(), |stream, event| {
            let kind = event["type"].as_str().unwrap_or_default();
            stream + &format!("event: {kind}\ndata: {event}\n\n")
        })
    }
}

/// The tool results in a request, in order.
fn results(request: &Value) -> impl Iterator<Item = &Value> {
    let items = request["input"].as_array().map(Vec::as_slice).unwrap_or_default();
    items.iter().filter(|item| item["type"].as_str().is_some_and(|kind| kind.ends_with("_output")))
}

/// A scripted model, answering until it is dropped.
#[derive(Debug)]
pub struct Model {
    server: Server,
    heard: Arc<Mutex<Vec<Request>>>,
}

impl Model {
    /// Starts on loopback in the network namespace of the calling thread; port 0 takes a free one.
    /// `files` can be fetched by their path, and whatever is sent to any other path is taken and kept.
    pub fn start(port: u16, script: Script, files: &[(&str, &str)]) -> io::Result<Self> {
        let files: Vec<(String, String)> =
            files.iter().map(|&(path, text)| (path.to_owned(), text.to_owned())).collect();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&heard);
        let server = Server::start(port, move |request| {
            lock(&record).push(request.clone());
            match (request.method.as_str(), request.path.as_str()) {
                ("POST", "/v1/responses") => match serde_json::from_slice(&request.body) {
                    Ok(body) => Response::ok("text/event-stream", script.answer(&body)),
                    Err(error) => Response::status(400, &format!("not JSON: {error}")),
                },
                ("GET", "/v1/models") => {
                    Response::ok("application/json", r#"{"object":"list","data":[],"models":[]}"#)
                }
                ("GET", path) => match files.iter().find(|(name, _)| name == path) {
                    Some((_, text)) => Response::ok("text/plain", text.as_str()),
                    None => Response::status(404, "no such file\n"),
                },
                _ => Response::ok("text/plain", "taken\n"),
            }
        })?;
        Ok(Self { server, heard })
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.server.addr()
    }

    /// Everything that was sent so far.
    #[must_use]
    pub fn heard(&self) -> Vec<Request> {
        lock(&self.heard).clone()
    }

    /// Whether these bytes were in anything that was sent. Look for letters and digits only: in JSON, others may be
    /// written in more than one way.
    #[must_use]
    pub fn was_told(&self, needle: &str) -> bool {
        assert!(!needle.is_empty() && needle.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'));
        lock(&self.heard).iter().any(|request| {
            // A compressed body would hide what it holds, and "not found" would mean nothing.
            assert_eq!(request.header("content-encoding"), None, "{} was sent compressed", request.path);
            request.body.windows(needle.len()).any(|window| window == needle.as_bytes())
        })
    }

    /// How many turns the model was asked for.
    #[must_use]
    pub fn turns(&self) -> usize {
        lock(&self.heard).iter().filter(|request| request.path == "/v1/responses").count()
    }

    /// The results that the agent reported, in the order of the script, as text: for a command its output and how it
    /// ended, in Codex's own words.
    #[must_use]
    pub fn results(&self) -> Vec<String> {
        let heard = lock(&self.heard);
        let requests = heard.iter().filter(|request| request.path == "/v1/responses");
        let fullest = requests
            .filter_map(|request| serde_json::from_slice::<Value>(&request.body).ok())
            .max_by_key(|body| results(body).count())
            .unwrap_or_default();
        results(&fullest)
            .map(|item| item["output"].as_str().map_or(item["output"].to_string(), str::to_owned))
            .collect()
    }
}

/// A panic elsewhere must not hide what was heard.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_step_follows_from_the_results_so_far() {
        let script = Script::new().run("ls").patch("*** Begin Patch").say("bye");
        let ask = |results: usize| {
            let mut input = vec![json!({"type": "message"})];
            input.extend((0..results).map(|_| json!({"type": "function_call_output", "output": "x"})));
            script.answer(&json!({ "input": input }))
        };
        assert!(ask(0).contains(r#""cmd\":\"ls"#) && ask(0).contains(r#""call_id":"call_0""#), "{}", ask(0));
        assert!(ask(1).contains("apply_patch") && ask(1).contains("call_1"));
        assert!(ask(2).contains("bye") && ask(9).contains("bye"));
        assert_eq!(ask(0).matches("\n\n").count(), 3);
    }
}
