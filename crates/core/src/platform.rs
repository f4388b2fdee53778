//! Platforms and how they match, image-spec "Image Index Property Descriptions" and containerd's normalisation.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// For what an image is made: operating system, architecture and finer points. A *view*: unknown fields are ignored.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Platform {
    /// Operating system, Go's `GOOS` names.
    #[serde(default)]
    pub os: String,
    /// Architecture, Go's `GOARCH` names.
    #[serde(default)]
    pub architecture: String,
    /// Variant of the architecture: `v7`, `v8`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Version of the operating system; matters on Windows.
    #[serde(rename = "os.version", default, skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// Features of the operating system that the image needs.
    #[serde(rename = "os.features", default, skip_serializing_if = "Option::is_none")]
    pub os_features: Option<Vec<String>>,
}

impl Platform {
    /// Whether neither operating system nor architecture are stated.
    pub fn is_unstated(&self) -> bool {
        self.os.is_empty() && self.architecture.is_empty()
    }

    /// A platform of an operating system and an architecture.
    pub fn new(os: impl Into<String>, architecture: impl Into<String>) -> Self {
        Self {
            os: os.into(),
            architecture: architecture.into(),
            variant: None,
            os_version: None,
            os_features: None,
        }
    }

    /// What single-image operations choose from an index when nothing is asked for: `linux/amd64`, as crane does,
    /// whatever the machine palan runs on, so that a script gives the same result everywhere.
    pub fn default_choice() -> Self {
        Self::new("linux", "amd64")
    }

    /// `unknown/unknown`: what BuildKit writes on entries that are not images.
    pub fn is_unknown(&self) -> bool {
        self.os == "unknown" && self.architecture == "unknown"
    }

    /// The same platform in its one canonical spelling: lower case, `x86_64` → `amd64`, `aarch64` → `arm64`,
    /// arm64's `v8` and amd64's `v1` left out, `arm` without variant → `v7`. Empty strings count as absent.
    #[must_use]
    pub fn normalized(&self) -> Self {
        let os = match self.os.to_ascii_lowercase().as_str() {
            "macos" => "darwin".to_owned(),
            other => other.to_owned(),
        };
        let mut variant = self.variant.as_deref().filter(|v| !v.is_empty()).map(str::to_ascii_lowercase);
        let architecture = match self.architecture.to_ascii_lowercase().as_str() {
            "x86_64" | "x86-64" | "amd64" => {
                variant = variant.filter(|v| v != "v1");
                "amd64".to_owned()
            }
            "aarch64" | "arm64" => {
                variant = variant.filter(|v| v != "8" && v != "v8");
                "arm64".to_owned()
            }
            "armhf" => {
                variant = Some("v7".to_owned());
                "arm".to_owned()
            }
            "armel" => {
                variant = Some("v6".to_owned());
                "arm".to_owned()
            }
            "arm" => {
                variant = Some(match variant.as_deref() {
                    None | Some("7") => "v7".to_owned(),
                    Some(v) if v.len() == 1 => format!("v{v}"),
                    Some(v) => v.to_owned(),
                });
                "arm".to_owned()
            }
            "i386" | "386" => {
                variant = None;
                "386".to_owned()
            }
            other => other.to_owned(),
        };
        Self {
            os,
            architecture,
            variant,
            os_version: self.os_version.clone().filter(|v| !v.is_empty()),
            os_features: self.os_features.clone().filter(|f| !f.is_empty()),
        }
    }

    /// Whether an image for `self` runs where an image for `other` does: operating system, architecture and variant
    /// equal after normalisation. Versions and features of the operating system are not compared.
    pub fn same_machine(&self, other: &Self) -> bool {
        let (a, b) = (self.normalized(), other.normalized());
        a.os == b.os && a.architecture == b.architecture && a.variant == b.variant
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    /// One platform: `os/arch[/variant][:osversion]`. Other names of systems and architectures become the usual ones
    /// (`linux/x86_64` is `linux/amd64`, `linux/armhf` is `linux/arm/v7`); a variant that is given stays, none is made up.
    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let PlatformPattern { os, architecture, variant, os_version, .. } =
            text.parse().map_err(|e| PlatformError { expected: ONE, ..e })?;
        let Some(architecture) = architecture else {
            let reason = "an architecture is missing";
            return Err(PlatformError { text: text.to_owned(), reason, expected: ONE });
        };
        let given = Self { os, architecture, variant, os_version, os_features: None };
        let normal = given.normalized();
        let is_alias = !given.architecture.eq_ignore_ascii_case(&normal.architecture);
        let variant = match &given.variant {
            None => normal.variant.filter(|_| is_alias),
            Some(variant) => normal.variant.or_else(|| Some(spelled(variant))),
        };
        Ok(Self { variant, ..normal })
    }
}

/// `8` is `v8`.
fn spelled(variant: &str) -> String {
    let variant = variant.to_ascii_lowercase();
    match variant.parse::<u8>() {
        Ok(_) => format!("v{variant}"),
        Err(_) => variant,
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = format!("{}/{}", self.os, self.architecture);
        if let Some(variant) = self.variant.as_deref().filter(|v| !v.is_empty()) {
            text.push('/');
            text.push_str(variant);
        }
        if let Some(version) = self.os_version.as_deref().filter(|v| !v.is_empty()) {
            text.push(':');
            text.push_str(version);
        }
        f.pad(&text)
    }
}

/// Which platforms are meant: `os[/arch[/variant]][:osversion]`, unset parts match anything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PlatformPattern {
    text: String,
    os: String,
    architecture: Option<String>,
    variant: Option<String>,
    os_version: Option<String>,
}

impl PlatformPattern {
    /// Whether `platform` is meant.
    ///
    /// A variant that was not asked for matches any, except that asking for plain `arm` means `arm/v7` first of all
    /// is left to the caller: several matches are the caller's to report.
    pub fn matches(&self, platform: &Platform) -> bool {
        let found = platform.normalized();
        let wanted = Platform {
            os: self.os.clone(),
            architecture: self.architecture.clone().unwrap_or_else(|| found.architecture.clone()),
            variant: self.variant.clone(),
            os_version: self.os_version.clone(),
            os_features: None,
        };
        let normal = wanted.normalized();
        found.os == normal.os
            && found.architecture == normal.architecture
            && (self.variant.is_none() || found.variant == normal.variant)
            && (self.os_version.is_none() || found.os_version == normal.os_version)
    }
}

impl From<&Platform> for PlatformPattern {
    fn from(platform: &Platform) -> Self {
        Self {
            text: platform.to_string(),
            os: platform.os.clone(),
            architecture: Some(platform.architecture.clone()),
            variant: platform.variant.clone(),
            os_version: platform.os_version.clone(),
        }
    }
}

impl fmt::Display for PlatformPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

/// Why a text is not a platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid platform \"{text}\": {reason} (expected {expected}, for example linux/arm64)")]
pub struct PlatformError {
    /// The text given.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
    /// What it should look like.
    pub expected: &'static str,
}

const ONE: &str = "os/arch[/variant][:osversion]";
const PATTERN: &str = "os[/arch[/variant]][:osversion]";

impl FromStr for PlatformPattern {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let fail = |reason| Err(PlatformError { text: text.to_owned(), reason, expected: PATTERN });
        let (machine, os_version) = match text.split_once(':') {
            Some((_, "")) => return fail("nothing follows the colon"),
            Some((machine, version)) => (machine, Some(version.to_owned())),
            None => (text, None),
        };
        let parts: Vec<&str> = machine.split('/').collect();
        if parts.iter().any(|p| p.is_empty()) {
            return fail("a part is empty");
        }
        if parts.len() > 3 {
            return fail("more than three parts");
        }
        if parts.iter().any(|p| !p.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))) {
            return fail("a part has a character other than letters, digits, '.', '_' and '-'");
        }
        let part = |i: usize| parts.get(i).map(|p| (*p).to_owned());
        Ok(Self {
            text: text.to_owned(),
            os: part(0).unwrap_or_default(),
            architecture: part(1),
            variant: part(2),
            os_version,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        let mut parts = text.split('/');
        let mut next = || parts.next().map(str::to_owned);
        let mut p = Platform::new(next().unwrap(), next().unwrap());
        p.variant = next();
        p
    }

    #[test]
    fn spellings_of_one_platform_are_equal() {
        let cases = [
            ("linux/arm64", "linux/arm64/v8", true),
            ("linux/aarch64", "linux/arm64", true),
            ("linux/arm", "linux/arm/v7", true),
            ("linux/arm/v6", "linux/arm/v7", false),
            ("linux/x86_64", "Linux/amd64", true),
            ("linux/amd64", "linux/amd64/v3", false),
            ("linux/amd64", "windows/amd64", false),
        ];
        for (a, b, same) in cases {
            assert_eq!(platform(a).same_machine(&platform(b)), same, "{a} {b}");
        }
    }

    #[test]
    fn unset_parts_of_a_pattern_match_anything() {
        let cases = [
            ("linux", "linux/arm64/v8", true),
            ("linux/arm64", "linux/arm64/v8", true),
            ("linux/arm64/v8", "linux/arm64", true),
            ("linux/arm", "linux/arm/v6", true),
            ("linux/arm/v6", "linux/arm/v7", false),
            ("linux/amd64", "linux/arm64", false),
            ("linux/amd64:10", "linux/amd64", false),
        ];
        for (pattern, p, matched) in cases {
            let pattern: PlatformPattern = pattern.parse().unwrap();
            assert_eq!(pattern.matches(&platform(p)), matched, "{pattern} {p}");
        }
    }

    #[test]
    fn platforms_are_read_in_any_spelling_and_written_in_one() {
        let cases = [
            ("linux/amd64", "linux/amd64"),
            ("Linux/x86_64", "linux/amd64"),
            ("macos/aarch64", "darwin/arm64"),
            ("linux/arm64/v8", "linux/arm64/v8"),
            ("linux/aarch64/8", "linux/arm64/v8"),
            ("linux/arm", "linux/arm"),
            ("linux/armhf", "linux/arm/v7"),
            ("linux/arm/6", "linux/arm/v6"),
            ("linux/amd64/v3", "linux/amd64/v3"),
            ("windows/amd64:10.0.17763.1", "windows/amd64:10.0.17763.1"),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), expected, "{text}");
        }
        for text in ["", "linux", "linux:10", "linux/", "linux/a/b/c", "linux/amd64:", "li nux/amd64"] {
            let error = text.parse::<Platform>().unwrap_err().to_string();
            assert!(error.contains("expected os/arch[/variant]"), "{error}");
        }
    }

    #[test]
    fn malformed_patterns_are_refused() {
        for text in ["", "/", "linux/", "linux/a/b/c", "linux/amd64:", "li nux/amd64"] {
            assert!(text.parse::<PlatformPattern>().is_err(), "{text}");
        }
    }
}
