//! Makes sure that every token leads to the account of the connection's data before
//! anything but the account is read with it.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::Mutex;

use super::Client;
use crate::hubspot::{
    call::{Call, Endpoint},
    error::{Fault, OTHER_PORTAL},
    failure::{CallError, given_up},
    wire,
};

/// The account of the connection's data, and the token that was seen to lead to it.
#[derive(Debug, Default)]
pub(super) struct KnownAccount {
    /// Set once the account is known.
    portal_id: OnceLock<i64>,
    /// Generation of the token of the last answer with account details.
    answered: AtomicU64,
    /// Generation of the last token that is known to lead to the account.
    confirmed: AtomicU64,
    /// Another token is confirmed once for all requests that wait.
    confirming: Mutex<()>,
}

impl Client {
    /// From now on every other token has to lead to this account, whose details were just
    /// read.
    pub(in crate::hubspot) fn expect_portal(&self, portal_id: i64) {
        let known = &self.account;
        known
            .confirmed
            .store(known.answered.load(Ordering::Relaxed), Ordering::Relaxed);
        // A client has one account.
        known.portal_id.get_or_init(|| portal_id);
    }

    /// The request for account details.
    pub(in crate::hubspot) fn account_call(&self) -> Call {
        let url = self
            .transport
            .url(&["account-info", self.version(), "details"]);
        Call::get(Endpoint::Account, url)
    }

    /// Asks HubSpot, unless it has said so, whether the present token leads to the account of the connection's
    /// data. Fails if it leads to another.
    pub(super) async fn confirm_account(&self, generation: u64) -> Result<(), CallError> {
        let known = &self.account;
        let _waiting = known.confirming.lock().await;
        if known.confirmed.load(Ordering::Relaxed) == generation {
            return Ok(());
        }
        let call = self.account_call();
        let account = Box::pin(self.call(&call, wire::account)).await?.value;
        match known.portal_id.get() {
            Some(expected) if *expected != account.portal_id => {
                let fault = Fault::OtherPortal {
                    expected: *expected,
                    found: account.portal_id,
                };
                Err(given_up(&call, fault, OTHER_PORTAL))
            }
            _ => {
                let answered = known.answered.load(Ordering::Relaxed);
                known.confirmed.store(answered, Ordering::Relaxed);
                Ok(())
            }
        }
    }

    /// Whether a request may be made with a token of this generation.
    pub(super) fn is_confirmed(&self, endpoint: Endpoint, generation: u64) -> bool {
        let known = &self.account;
        endpoint == Endpoint::Account
            || known.portal_id.get().is_none()
            || known.confirmed.load(Ordering::Relaxed) == generation
    }

    /// A token of this generation was answered with account details.
    pub(super) fn account_was_read(&self, generation: u64) {
        self.account.answered.store(generation, Ordering::Relaxed);
    }
}
