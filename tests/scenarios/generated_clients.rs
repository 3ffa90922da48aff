//! What is made from the API's own document: a Python and a TypeScript client, each with
//! one flow over it, and thousands of requests that search for answers that the document
//! does not have. `tests/openapi/` has all three.

use harness::{Stack, stack_command};
use serde_json::json;

/// The token of the API.
const API_TOKEN: &str = "generated-clients-token";

const CONTACTS: u32 = 250;

/// A system that asks for a token, as the document says.
async fn guarded() -> Stack {
    let mut stack = Stack::with(CONTACTS, 20)
        .data_streams("API_TOKEN", API_TOKEN)
        .start()
        .await;
    stack.keep_secret(API_TOKEN);
    stack
}

/// Runs a command of `infra/native/stack` against the API; it must succeed.
async fn passes(stack: &Stack, command: &str, more: &[&str]) {
    let url = stack.api().url().to_owned();
    let arguments = [&[command, &url], more].concat();
    stack_command(&arguments, &[("API_TOKEN", API_TOKEN.to_owned())]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generated_python_client_reads_the_records_of_a_connection() {
    let stack = guarded().await;
    passes(&stack, "python-client", &[&CONTACTS.to_string()]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generated_typescript_client_reads_the_records_of_a_connection() {
    let stack = guarded().await;
    passes(&stack, "typescript-client", &[&CONTACTS.to_string()]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn schemathesis_finds_no_answer_that_the_document_does_not_have() {
    // With records, so that more requests find something. An instance without a token
    // begins their sync.
    let mut stack = Stack::with(CONTACTS, 20).start().await;
    stack.first_sync(json!({})).await;
    stack.keep_secret(API_TOKEN);
    stack.add_data_streams_with(&[("API_TOKEN", API_TOKEN)]);
    stack.api().ready().await;
    passes(&stack, "schemathesis", &[]).await;
}
