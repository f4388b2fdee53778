//! What a merge has to say, as data and as sentences.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use super::three::Three;
use crate::verdict::Grade;

/// What a merge did. The same inputs give the same lists, in the same order.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Merged {
    /// What is no longer as it was in the image.
    pub changes: Vec<Change>,
    /// What the image and the new base disagree about, and who prevailed.
    pub conflicts: Vec<Change>,
    /// What a merge cannot do.
    pub notes: Vec<Note>,
}

impl Merged {
    /// Whether a rebuild can be expected to have made the same config.
    pub(in crate::rebase) fn grade(&self) -> Grade {
        let is_guess = |c: &Change| {
            matches!(
                c.reason,
                Reason::PathInPieces | Reason::SetAgain | Reason::EntrypointRepeated | Reason::MaybeRelative
            )
        };
        // With the new base's value the image is not what its own recipe makes.
        let is_overruled = |c: &Change| c.choice == Choice::Base;
        let is_harmless = |n: &Note| *n == Note::Buildpacks;
        let guessed = self.changes.iter().chain(&self.conflicts).any(is_guess);
        match guessed || self.conflicts.iter().any(is_overruled) || !self.notes.iter().all(is_harmless) {
            true => Grade::Shadowed,
            false => Grade::Clean,
        }
    }
}

/// A value that changes, or that is disputed. Absent values are left out of JSON.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// The field, with its member: `User`, `Env PATH`, `Labels org.example.a`.
    pub field: String,
    /// The old base's value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<Value>,
    /// The image's value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app: Option<Value>,
    /// The new base's value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<Value>,
    /// The value in the result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
    /// Whose value that is.
    pub choice: Choice,
    /// Why.
    pub reason: Reason,
}

/// Whose value is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Choice {
    /// The image's.
    App,
    /// The new base's.
    Base,
    /// A value made of both.
    Merged,
}

/// Why a value is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Reason {
    /// The image had it from the old base.
    Inherited,
    /// A search path that contains the old base's: that part is replaced.
    PathOfBase,
    /// A search path that contains the old base's in pieces, or more than once: a rebuild may give another one.
    PathInPieces,
    /// Image and new base both changed it.
    BothChanged,
    /// Both changed it, and the image's directory is beneath the old base's: it may have been relative to that.
    MaybeRelative,
    /// The image set, in a step of its own, what its old base had already.
    SetAgain,
    /// The image has the old base's entrypoint without its command: it may have set the same entrypoint by itself.
    EntrypointRepeated,
    /// What is run, and how it is written, goes with the new base's entrypoint or command.
    WithEntrypoint,
    /// Windows images state the version of their base.
    WindowsVersion,
}

/// What a merge cannot do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "note", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Note {
    /// The old base's config is not known.
    OldConfigUnknown,
    /// The config is kept as asked, where a merge would have changed these fields.
    Kept {
        /// The fields.
        fields: Vec<String>,
    },
    /// The image was made by buildpacks, whose launcher sets up environment, user and command.
    Buildpacks,
    /// The new base's build triggers are not those of the old base.
    OnBuild,
    /// Build steps of the image ran with this setting of the old base, which the new base has otherwise.
    BuiltWith {
        /// `User`, `WorkingDir` or `Shell`.
        field: String,
    },
    /// A value of the image contains a value of the old base that has changed.
    Baked {
        /// The image's field.
        field: String,
        /// The base's field.
        variable: String,
        /// Its value in the old base.
        old: String,
        /// Its value in the new base.
        #[serde(skip_serializing_if = "Option::is_none")]
        new: Option<String>,
    },
}

impl Change {
    pub(super) fn of(
        field: &str,
        three: Three<'_>,
        result: Option<&Value>,
        choice: Choice,
        reason: Reason,
    ) -> Self {
        Self {
            field: field.to_owned(),
            old: three.old.cloned(),
            app: three.app.cloned(),
            new: three.new.cloned(),
            result: result.cloned(),
            choice,
            reason,
        }
    }
}

/// One sentence.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, .. } = self;
        let [old, app, new, result] = [&self.old, &self.app, &self.new, &self.result].map(Short);
        match self.reason {
            Reason::Inherited if self.old.is_none() => {
                write!(f, "{field} is new in the new base: {result}")
            }
            Reason::Inherited => match self.result {
                Some(_) => {
                    write!(f, "{field} was the old base's, {app}, and becomes the new base's, {result}")
                }
                None => {
                    write!(f, "{field} was the old base's, {app}, and is not in the new base: it is removed")
                }
            },
            Reason::PathOfBase => write!(f, "{field} contains the old base's and becomes {result}"),
            Reason::PathInPieces => write!(
                f,
                "{field} contains the old base's in pieces or more than once, a rebuild may give another one: \
                 {app} becomes {result}"
            ),
            Reason::MaybeRelative => write!(
                f,
                "{field} is {app} in the image, beneath the old base's, {old}, which is {new} in the new base: \
                 a rebuild may give another one; {}",
                self.choice
            ),
            Reason::BothChanged => write!(
                f,
                "{field} was {old} in the old base, is {new} in the new base and {app} in the image: {}",
                self.choice
            ),
            Reason::SetAgain => write!(
                f,
                "{field} was set by the image to what the old base had, {app}; it is {new} in the new base: {}",
                self.choice
            ),
            Reason::EntrypointRepeated => write!(
                f,
                "{field} is the old base's, {app}, without its Cmd, so the image may have set it by itself; \
                 it is {new} in the new base: {}",
                self.choice
            ),
            Reason::WithEntrypoint => {
                write!(f, "{field} belongs to what the new base runs: {app} becomes {result}")
            }
            Reason::WindowsVersion => write!(f, "{field} is the new base's: {app} becomes {result}"),
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::App => "the image's stays",
            Self::Base => "the new base's is taken",
            Self::Merged => "both are combined",
        })
    }
}

/// One sentence.
impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OldConfigUnknown => f.write_str(
                "the old base's config is not known, so nothing tells what the image inherited: its config is kept",
            ),
            Self::Kept { fields } => {
                write!(f, "the config is kept as it was, a rebuild would change {}", fields.join(", "))
            }
            Self::Buildpacks => f.write_str(
                "the image was made by buildpacks: Env, User, WorkingDir, Entrypoint and Cmd stay as they are, and its \
                 lifecycle label still names the old run image",
            ),
            Self::OnBuild => f.write_str(
                "the ONBUILD triggers of the new base are not the old base's: a rebuild would run them, a rebase does not",
            ),
            Self::BuiltWith { field } => write!(
                f,
                "the image's build steps ran with the old base's {field}, a rebuild runs them with the new base's"
            ),
            Self::Baked { field, variable, old, new } => {
                let [old, new] = [Some(old), new.as_ref()].map(|v| v.cloned().map(Value::from));
                let (old, new) = (Short(&old), Short(&new));
                write!(
                    f,
                    "{field} of the image contains {old}, the old base's {variable}, which is {new} in the new base: \
                     a rebuild may give another value"
                )
            }
        }
    }
}

/// A value as JSON, cut where it gets long.
struct Short<'a>(&'a Option<Value>);

/// The most of a value that a sentence shows, in characters.
const SHOWN: usize = 120;

impl fmt::Display for Short<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(value) = self.0 else { return f.write_str("absent") };
        let text = value.to_string();
        match text.char_indices().nth(SHOWN) {
            Some((end, _)) => write!(f, "{}…", &text[..end]),
            None => f.write_str(&text),
        }
    }
}
