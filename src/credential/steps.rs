//! The steps of a rotation, as far as they concern the file: each performed once, in the order the policy says.
//!
//! Owns what a step does to the disk and the locks, and the clause that says why it could not. Never goes on to the
//! next step by itself. `Post` is the owner's, because it awaits; `OpenFence` is the state's.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::ExposeSecret as _;

use super::owner::Owner;
use super::vendor_lock::{HEARTBEAT, LockFailure, LockState, VendorLocks};
use crate::disk::{self, Lock, Staged};
use crate::model::{Credential, CredentialOwner};
use crate::policy::rotation::{Event, Step};
use crate::provider;

/// What the probe writes before anything is spent: more than any credential file seen.
const PROBE_BYTES: usize = 64 * 1024;

/// The store lock is tried as often as the vendor tries it, over about 7.5 s (credentials.md 1A.1).
const STORE_TRIES: u32 = 10;
const STORE_WAIT: Duration = Duration::from_millis(750);

/// What keeps everyone else from refreshing or writing the file; released when dropped.
#[derive(Debug)]
pub(super) enum Exclusion {
    /// A grant of our own: a lock beside the file.
    Own(Lock),
    /// The vendor's file: its own locks.
    Vendor(Box<VendorLocks>),
}

impl Owner {
    pub(super) fn perform(&mut self, step: Step) -> Event {
        match step {
            Step::Lock => self.lock(),
            Step::Probe => self.probe(),
            Step::ReRead => self.re_read(),
            Step::CheckLock => self.check_lock(),
            Step::StoreSuccessor => self.store_successor(),
            Step::Compare => self.compare(),
            Step::Stage => self.stage(),
            Step::Replace => self.replace(),
            Step::ReadBack => self.read_back(),
            Step::Settle => self.settle(),
            Step::Unlock => {
                self.staged = None;
                self.posting = None;
                self.exclusion = None;
                Event::Done
            }
            // `OpenFence` is the state's to perform and `Post` the transport's.
            Step::OpenFence | Step::Post => Event::Failed(format!("{} is not a step of the file", step.as_str())),
        }
    }

    /// The directory the file really lies in.
    fn real_dir(&self) -> Option<PathBuf> {
        let path = std::fs::canonicalize(self.file.path()).unwrap_or_else(|_| self.file.path().to_owned());
        path.parent().map(PathBuf::from)
    }

    fn lock(&mut self) -> Event {
        let (Some(dir), Some(real_dir)) = (self.file.path().parent(), self.real_dir()) else {
            return Event::Failed("the credential file has no directory".to_owned());
        };
        // Whatever an earlier rotation left: against ourselves there is nothing to exclude.
        self.exclusion = None;
        let taken = match self.setup.owner {
            CredentialOwner::Quotad => Lock::acquire(&real_dir.join(".quotad.lock"))
                .map(Exclusion::Own)
                .map_err(|error| Event::Busy(error.to_string())),
            CredentialOwner::Vendor => VendorLocks::try_acquire(dir, HEARTBEAT)
                .map(|locks| Exclusion::Vendor(Box::new(locks)))
                .map_err(|error| match &error {
                    LockFailure::Contended(standing) if matches!(standing.state, LockState::Fresh(_)) => {
                        Event::Busy(error.to_string())
                    }
                    LockFailure::Contended(_) | LockFailure::Disk(_) => Event::Failed(error.to_string()),
                }),
        };
        match taken {
            Ok(exclusion) => {
                self.exclusion = Some(exclusion);
                // What a killed quotad left behind holds tokens; under the lock nobody is writing it.
                let _ = disk::remove_leftovers(&real_dir);
                Event::Done
            }
            Err(event) => event,
        }
    }

    /// Right before the one thing that cannot be undone.
    fn check_lock(&self) -> Event {
        match &self.exclusion {
            Some(Exclusion::Own(lock)) if lock.is_in_place() => Event::Done,
            Some(Exclusion::Own(_)) => Event::Failed("the lock beside the credential file was removed".to_owned()),
            Some(Exclusion::Vendor(locks)) => done_or(locks.check()),
            None => Event::Failed("the lock is not held".to_owned()),
        }
    }

    /// The vendor's clients read, change and write their store under a third lock. If the first two were taken over
    /// since the POST (a suspend is enough), the successor is kept and placed later, under locks taken anew.
    fn lock_store(&mut self) -> Result<(), Event> {
        let Some(Exclusion::Vendor(locks)) = &mut self.exclusion else { return Ok(()) };
        locks.still_ours().map_err(|error| Event::Failed(error.to_string()))?;
        for remaining in (0..STORE_TRIES).rev() {
            match locks.lock_store() {
                Ok(()) => return Ok(()),
                Err(LockFailure::Contended(_)) if remaining > 0 => std::thread::sleep(STORE_WAIT),
                Err(error) => return Err(Event::Failed(error.to_string())),
            }
        }
        Ok(())
    }

    fn probe(&self) -> Event {
        let path = std::fs::canonicalize(self.file.path()).unwrap_or_else(|_| self.file.path().to_owned());
        let dirs = self.real_dir().into_iter().chain([self.setup.state_dir.clone()]);
        for dir in dirs {
            if let Err(error) = disk::probe_writable(&dir, PROBE_BYTES) {
                return Event::Failed(error.to_string());
            }
        }
        if disk::is_mount_point(&path) {
            return Event::Failed(format!("{} is a mount of its own and cannot be replaced", path.display()));
        }
        Event::Done
    }

    /// The file under the lock: is the token to be posted still the one that was decided on?
    fn re_read(&mut self) -> Event {
        let found = self.file.look(&self.key);
        let Some(contents) = found.contents else { return Event::Changed };
        let same = self.holding.still_in(&contents.tokens);
        self.posting = Some(Box::new(contents));
        if same { Event::Done } else { Event::Changed }
    }

    fn store_successor(&self) -> Event {
        let Some(successor) = self.holding.successor() else {
            return Event::Failed("there is no successor".to_owned());
        };
        done_or(successor.store(self.file.path()))
    }

    fn compare(&mut self) -> Event {
        if let Err(event) = self.lock_store() {
            return event;
        }
        if self.holding.successor().is_none() {
            return Event::Failed("there is no successor".to_owned());
        }
        let found = self.file.look(&self.key);
        let Some(contents) = found.contents else {
            let why = match found.credential {
                Credential::SignedOut => "the vendor's CLI signed out meanwhile; its verdict stands",
                Credential::Absent => "the file is gone",
                Credential::NoLogin => "the file holds no login any more",
                Credential::Unreadable(_) | Credential::Login(_) => "the file cannot be read",
            };
            return Event::Failed(why.to_owned());
        };
        // If not: kept aside in the state directory; what is in the file is newer.
        let may = self.holding.may_replace(&contents.tokens);
        self.posting = Some(Box::new(contents));
        if may { Event::Done } else { Event::Changed }
    }

    /// Writes the new file beside the old one.
    fn stage(&mut self) -> Event {
        let held = self.posting.as_ref().and_then(|contents| contents.file.as_ref());
        let (Some(successor), Some(held)) = (self.holding.successor(), held) else {
            return Event::Failed("there is nothing to write".to_owned());
        };
        let Some(dir) = held.real_path.parent() else {
            return Event::Failed("the credential file has no directory".to_owned());
        };
        let Some(layout) = provider::of(self.setup.provider).store().layout else {
            return Event::Failed("quotad never writes this vendor's file".to_owned());
        };
        let written = match successor.written_into(held.raw.expose_secret(), layout) {
            Ok(written) => written,
            Err(error) => return Event::Failed(error.to_string()),
        };
        match Staged::write(dir, written.expose_secret(), Some(&held.metadata)) {
            Ok(staged) => {
                self.staged = Some(staged);
                Event::Done
            }
            Err(error) => Event::Failed(error.to_string()),
        }
    }

    /// Puts it in the old one's place.
    fn replace(&mut self) -> Event {
        let held = self.posting.as_ref().and_then(|contents| contents.file.as_ref());
        let (Some(staged), Some(held)) = (self.staged.take(), held) else {
            return Event::Failed("there is nothing to put in place".to_owned());
        };
        done_or(staged.commit(&held.real_path))
    }

    fn read_back(&mut self) -> Event {
        let found = self.file.look(&self.key);
        match found.contents {
            Some(contents) if self.holding.is_placed(&contents.tokens) => Event::Done,
            _ => Event::Failed("the file did not read back as written".to_owned()),
        }
    }

    fn settle(&mut self) -> Event {
        match self.holding.settle().map(|successor| successor.remove()) {
            Some(Err(error)) => Event::Failed(error.to_string()),
            Some(Ok(())) | None => Event::Done,
        }
    }
}

fn done_or(result: Result<(), impl std::fmt::Display>) -> Event {
    result.map_or_else(|error| Event::Failed(error.to_string()), |()| Event::Done)
}
