//! The rules of five tools, as the field reports state them: models of rules, not of binaries.
//!
//! "Peer 4" in a comment is row 4 of section 1.5 of the reports, as in docs/policy.md, "section 2.5" is a section, and
//! "providers.md" the page beside them. Where they are silent the kinder reading is taken, and said.

mod clauth;
mod codexbar;
mod onwatch;
mod openusage;
mod usagebar;

pub(crate) use self::clauth::Clauth;
pub(crate) use self::codexbar::CodexBar;
pub(crate) use self::onwatch::OnWatch;
pub(crate) use self::openusage::OpenUsage;
pub(crate) use self::usagebar::UsageBar;
use super::Ticking;
