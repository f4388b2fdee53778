//! What a step of a history was: builders write instructions of a Dockerfile as they stand (BuildKit), or behind a shell's
//! comment (Docker's first builder, buildah).

/// The instructions that run nothing.
const METADATA: [&str; 17] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// A history entry's `created_by`, read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step<'a> {
    /// All of it, without what builders put around it.
    pub(crate) text: &'a str,
    /// The first word: of an instruction, its name.
    pub(crate) name: &'a str,
    /// What follows it.
    pub(crate) rest: &'a str,
    /// Whether it is said to be an instruction that runs nothing.
    is_marked: bool,
}

impl<'a> Step<'a> {
    pub(crate) fn read(created_by: &'a str) -> Self {
        let text = created_by.trim();
        let text = text.strip_suffix("# buildkit").unwrap_or(text).trim_end();
        let (text, is_marked) = match text.split_once("#(nop)") {
            Some((_, instruction)) => (instruction.trim(), true),
            None => (text, false),
        };
        // `CMD["a"]`; a `[` that is the first character is a shell's.
        let is_end = |(at, c): &(usize, char)| c.is_whitespace() || (*c == '[' && *at > 0);
        let end = text.char_indices().find(is_end).map_or(text.len(), |(at, _)| at);
        Self { text, name: &text[..end], rest: text[end..].trim(), is_marked }
    }

    /// Whether there are no commands in it.
    pub(crate) fn runs_nothing(&self) -> bool {
        self.is_marked || self.name.is_empty() || METADATA.contains(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_are_known_however_builders_write_them() {
        let cases = [
            ("/bin/sh -c #(nop)  CMD [\"a\"]", "CMD", "[\"a\"]", true),
            ("/bin/bash -ec #(nop) USER x ", "USER", "x", true),
            ("CMD[\"a\"]", "CMD", "[\"a\"]", true),
            ("COPY a b # buildkit", "COPY", "a b", true),
            ("WORKDIR\t/srv", "WORKDIR", "/srv", true),
            ("", "", "", true),
            ("RUN make # buildkit", "RUN", "make", false),
            ("[ -f /x ] && rm /x", "[", "-f /x ] && rm /x", false),
            ("/bin/sh -c make", "/bin/sh", "-c make", false),
        ];
        for (text, name, rest, nothing) in cases {
            let step = Step::read(text);
            assert_eq!((step.name, step.rest, step.runs_nothing()), (name, rest, nothing), "{text}");
        }
    }
}
