//! What quotad holds of one file's login: the tokens that are good now, and a successor on its way to its place.
//!
//! Pure: it is told what the file holds and says what follows from it; `owner` and `steps` read, write and lock.
//! Owns the rule that a granted successor is the login as soon as it is granted, and is dropped only when it lies in
//! the file or somebody else's token does. The simulation drives this very code over a disk of its own.

use std::path::Path;

use secrecy::{ExposeSecret as _, SecretString};

use super::secret::{FingerprintKey, Tokens};
use super::successor::{Place, Successor};
use crate::model::{Credential, Fingerprint};
use crate::policy::account::Unplaced;
use crate::policy::rotation::Minted;
use crate::policy::time::Stamp;
use crate::provider::Grant;

/// The tokens of one credential file, as one process holds them.
#[derive(Debug)]
pub struct Holding {
    key: FingerprintKey,
    /// The file's tokens, or those of a successor that waits for its place.
    current: Option<Tokens>,
    /// Granted, and not yet read back from the file.
    successor: Option<Successor>,
    /// Found in the state directory at the start, not yet compared with the file.
    found: Vec<Successor>,
}

/// An access token on its way into a request.
#[derive(Debug)]
pub struct Lent {
    /// The token.
    pub access: SecretString,
    /// See [`crate::provider::Poll::tenant`].
    pub tenant: Option<String>,
}

/// What a file and a waiting successor say together.
#[derive(Debug)]
pub struct Stock {
    /// The file's, or what quotad knows to be newer.
    pub credential: Credential,
    /// The successor that belongs into the file.
    pub unplaced: Option<Unplaced>,
    /// Successors that already lie in their place: their stored form may go.
    pub placed: Vec<Successor>,
    /// A successor of another login is kept.
    pub keeps_stranger: bool,
}

impl Holding {
    /// Nothing held yet but what an earlier process left in the state directory.
    pub fn new(key: FingerprintKey, found: Vec<Successor>) -> Self {
        Self { key, current: None, successor: None, found }
    }

    /// The access token of this name, if it is still the current one.
    pub fn lend(&self, access: Fingerprint) -> Option<Lent> {
        let current = self.current.as_ref()?;
        let lent = || Lent { access: current.access.clone(), tenant: current.tenant.clone() };
        (self.key.fingerprint(&current.access) == access).then(lent)
    }

    /// Takes in what a look at the file found.
    pub fn take_stock(&mut self, mut credential: Credential, in_file: Option<&Tokens>, now: Stamp) -> Stock {
        let (mut unplaced, mut placed, mut keeps_stranger) = (None, Vec::new(), false);
        self.current = in_file.cloned();
        if let (Some(in_file), Credential::Login(login)) = (in_file, &credential) {
            for successor in std::mem::take(&mut self.found) {
                match successor.place(in_file) {
                    Place::Vacant => self.successor = Some(successor),
                    Place::Taken => placed.push(successor),
                    Place::Foreign => keeps_stranger = true,
                }
            }
            if let Some(successor) = &self.successor
                && successor.place(in_file) == Place::Vacant
                && let Some(posted) = login.refresh
            {
                let tokens = successor.tokens(in_file);
                let minted = successor.minted(&tokens, posted, &self.key, now);
                credential = Credential::Login(successor.login(&tokens, login, &self.key));
                unplaced = Some(Unplaced { posted, minted });
                self.current = Some(tokens);
            }
        }
        Stock { credential, unplaced, placed, keeps_stranger }
    }

    /// Whether the file still holds the tokens that were decided on. A server that does not rotate leaves the refresh
    /// token as it was: then only the access token tells that somebody else has refreshed.
    pub fn still_in(&self, in_file: &Tokens) -> bool {
        let same = |one: &SecretString, other: &SecretString| one.expose_secret() == other.expose_secret();
        self.current.as_ref().is_some_and(|decided| {
            let refresh = decided.refresh.as_ref().zip(in_file.refresh.as_ref());
            refresh.is_some_and(|(one, other)| same(one, other)) && same(&decided.access, &in_file.access)
        })
    }

    /// Takes in what `posted` was exchanged for; `in_file` is what the file held then, `dir` the state directory.
    pub fn take_grant(
        &mut self,
        posted: &SecretString,
        in_file: &Tokens,
        grant: Grant,
        now: Stamp,
        dir: &Path,
    ) -> Minted {
        let successor = Successor::new(posted, grant, &self.key, now, dir);
        let tokens = successor.tokens(in_file);
        let minted = successor.minted(&tokens, self.key.fingerprint(posted), &self.key, now);
        self.current = Some(tokens);
        self.successor = Some(successor);
        minted
    }

    /// The successor that waits for its place.
    pub fn successor(&self) -> Option<&Successor> {
        self.successor.as_ref()
    }

    /// Whether the successor may be written over what the file holds. If not, what is there is newer: the successor is
    /// let go of and stays where it is stored.
    pub fn may_replace(&mut self, in_file: &Tokens) -> bool {
        let may = self.successor.as_ref().is_some_and(|successor| successor.place(in_file) != Place::Foreign);
        if !may {
            self.successor = None;
        }
        may
    }

    /// Whether the successor lies in the file.
    pub fn is_placed(&self, in_file: &Tokens) -> bool {
        self.successor.as_ref().is_some_and(|successor| successor.place(in_file) == Place::Taken)
    }

    /// The successor lies in its place: lets go of it, for its stored form to be removed.
    pub fn settle(&mut self) -> Option<Successor> {
        self.successor.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_still_in_the_file_only_if_neither_was_exchanged() {
        let tokens = |access: &str, refresh: Option<&str>| Tokens {
            access: format!("sk-ant-oat01-FAKE-{access}").into(),
            refresh: refresh.map(|refresh| format!("sk-ant-ort01-FAKE-{refresh}").into()),
            tenant: None,
        };
        let mut holding = Holding::new(FingerprintKey::new(&[1; 32]), Vec::new());
        assert!(!holding.still_in(&tokens("A1", Some("R1"))), "nothing was decided on");
        holding.take_stock(Credential::NoLogin, Some(&tokens("A1", Some("R1"))), Stamp::UNIX_EPOCH);
        for (in_file, still) in [
            (tokens("A1", Some("R1")), true),
            (tokens("A2", Some("R2")), false),
            (tokens("A2", Some("R1")), false),
            (tokens("A1", None), false),
        ] {
            assert_eq!(holding.still_in(&in_file), still, "{in_file:?}");
        }
    }
}
