//! Fleets: all images that a team owns, moved to new bases in one operation that can be reviewed, resumed and undone.
//!
//! * [`scan`](fn@scan) finds what each image stands on: an [`Inventory`].
//! * [`plan`](fn@plan) computes a rebase for each image and locks it by digest: a [`Plan`], a file to review. It writes
//!   nothing.
//! * [`apply`](fn@apply) pushes the results under *candidate* tags and asks the gates.
//! * [`promote`](fn@promote) moves the real tags, each after a backup tag, wave by wave.
//! * [`rollback`](fn@rollback) gives the tags back what they stood for.
//!
//! The last three write a [`Journal`] before and after each effect. All of them can be killed anywhere and started again:
//! what is done is not done again, and what is not is. A tag is only ever moved from the digest that the plan names to the
//! other one that it names; what somebody else has put there stays.
//!
//! [`report`] tells where a run stands.
//!
//! What fails for one image is told of that image, and the others go on.

mod apply;
mod chain;
mod commented;
mod files;
mod gates;
mod ground;
mod inventory;
mod journal;
mod lines;
mod lock;
mod newest;
mod plan;
mod planned;
mod promote;
pub mod report;
mod rollback;
mod run;
mod scan;
mod settings;
mod shard;
mod sources;
mod spread;
mod standing;
mod state;
mod states;
mod successors;
mod tags;
mod template;
mod unfit;
mod unknown;
mod waves;

pub use apply::{Apply, Candidate, Hook, HookOutput, apply};
pub use commented::commented;
pub use inventory::{INVENTORY_SCHEMA, Inventory, InventoryError, Link, Member, MemberPlatform, Missed};
pub use journal::{Effect, Event, Journal, JournalError, Record, Step};
pub use lines::Lines;
pub use plan::{BaseSignatures, Planning, plan};
pub use planned::{Action, Entry, Left, Locked, LockedPlatform, Plan, PlanError, SCHEMA, Stood, Wave};
pub use promote::promote;
pub use rollback::{rollback, rollback_plan};
pub use run::{Become, Choice, Listener, Outcome};
pub use scan::{On, scan, scan_on};
pub use settings::{
    BaseRule, Bounds, Gates, Images, KEYS, Key, Newest, RegistryRules, Rules, Settings, SettingsError,
    SettingsProblem, Tags, WaveRule,
};
pub use shard::{Shard, ShardError};
pub use state::{JOURNAL, Remote};
pub use states::{Failed, State, states};
pub use successors::{Successors, Swaps};
pub use template::{Template, TemplateError};
pub use unfit::unfit;
