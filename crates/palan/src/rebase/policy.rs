//! How a rebase decides where there is a choice.

use std::{fmt, str::FromStr};

use super::{attestations::OldAttestations, report::Verdict};
use crate::verdict::Grade;

/// The choices of a rebase. The default is what a rebuild would have done, looked at as closely as possible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What becomes of the config.
    pub config: ConfigPolicy,
    /// Whose value is taken where the application and the new base both changed one.
    pub on_conflict: OnConflict,
    /// What becomes of attestations.
    pub attestations: OldAttestations,
    /// How closely the result is looked at.
    pub check: Check,
    /// Whether to look for what refers to the image (signatures, SBOMs), where the result is looked at: it stays behind,
    /// and that is said. What is to be carried is looked for in any case.
    pub referrers: bool,
    /// When a plan is not applied.
    pub refuse: Refuse,
    /// When the result is said to be created, RFC 3339; `None`: when the image was. An image that stands on the new
    /// base already is not created anew.
    pub created: Option<String>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            config: ConfigPolicy::default(),
            on_conflict: OnConflict::default(),
            attestations: OldAttestations::default(),
            check: Check::default(),
            referrers: true,
            refuse: Refuse::default(),
            created: None,
        }
    }
}

impl Policy {
    pub(super) fn looks_for_referrers(&self) -> bool {
        matches!(self.attestations, OldAttestations::Carry(_))
            || (self.referrers && self.check != Check::None)
    }
}

/// From which grade on a plan is not applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refuse(pub Option<Grade>);

impl Default for Refuse {
    fn default() -> Self {
        Self(Some(Grade::Broken))
    }
}

impl Refuse {
    /// Whether a verdict is bad enough. What nobody looked at is not refused.
    pub fn concerns(self, verdict: Verdict) -> bool {
        matches!((self.0, verdict), (Some(from), Verdict::Assessed(grade)) if grade >= from)
    }
}

/// Stands in files as it is written and read on command lines.
macro_rules! written {
    ($name:ident) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

written!(OldAttestations);

/// A choice among a few words.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// Every choice.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The word for it.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }
        }

        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                Self::ALL.iter().find(|choice| choice.as_str() == text).copied().ok_or_else(|| {
                    let words: Vec<&str> = Self::ALL.iter().map(|choice| choice.as_str()).collect();
                    format!("\"{text}\" is not one of {}", words.join(", "))
                })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        written!($name);
    };
}

words! {
    /// What becomes of an image's config when its base is replaced.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    ConfigPolicy {
        /// Values that the image inherited follow the base.
        #[default]
        Merge = "merge",
        /// The image's config stays as it is.
        Keep = "keep",
    }
}

words! {
    /// Whose value is taken where the image and the new base both changed one.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    OnConflict {
        /// The image's.
        #[default]
        App = "app",
        /// The new base's.
        Base = "base",
        /// Nobody's: there is no plan then, and all conflicts are listed.
        Fail = "fail",
    }
}

words! {
    /// How closely a planned result is looked at.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    Check {
        /// Not at all.
        None = "none",
        /// Configs, and what refers to the image. No layer is read.
        Metadata = "metadata",
        /// The files of all layers too.
        #[default]
        Content = "content",
    }
}
