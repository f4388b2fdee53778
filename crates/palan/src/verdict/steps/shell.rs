//! Reading commands out of a history, as far as words go.

use crate::instruction;

/// What a step of a history was.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// `WORKDIR`.
    WorkDir(String),
    /// An instruction that runs nothing.
    Other,
    /// Commands, in the order in which they are written.
    Run(Vec<Command>),
}

/// A simple command: a program and its words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) words: Vec<Word>,
}

/// A word, with quotes taken off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) text: String,
    /// Names of the variables in it.
    pub(super) variables: Vec<String>,
    pub(super) role: Role,
}

/// What a word is to its command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Role {
    #[default]
    Argument,
    /// `< word`
    Input,
    /// `> word`
    Output,
}

/// Longer scripts are read up to here: hostile histories are not to cost time.
const MOST: usize = 256 * 1024;

/// Words in front of a command that are not the command.
const LEADING: [&str; 18] = [
    "!", "command", "do", "elif", "else", "env", "exec", "fi", "done", "esac", "if", "nohup", "sudo", "then",
    "time", "until", "while", "{",
];

impl Command {
    /// The command on one line, cut where it gets long.
    pub(super) fn shown(&self) -> String {
        let word = |word: &Word| match word.role {
            Role::Argument => word.text.clone(),
            Role::Input => format!("< {}", word.text),
            Role::Output => format!("> {}", word.text),
        };
        let words: Vec<String> = self.words.iter().map(word).collect();
        let line: String = words.join(" ").chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        match line.char_indices().nth(80) {
            Some((end, _)) => format!("{}…", &line[..end]),
            None => line,
        }
    }
}

/// Reads a history entry's `created_by`, as Docker, BuildKit and buildah write it.
pub(super) fn read(created_by: &str) -> Step {
    let end = (0..=MOST.min(created_by.len())).rev().find(|at| created_by.is_char_boundary(*at)).unwrap_or(0);
    let step = instruction::Step::read(&created_by[..end]);
    if step.name == "WORKDIR" {
        return Step::WorkDir(step.rest.to_owned());
    }
    if step.runs_nothing() {
        return Step::Other;
    }
    let text = step.text.strip_prefix("RUN ").unwrap_or(step.text);
    Step::Run(commands(script(text), 0))
}

/// The script in `|2 A=b C=d /bin/sh -ec script`; without a shell, the text itself.
fn script(text: &str) -> &str {
    let mut rest = text;
    if rest.starts_with('|') {
        rest = after_word(rest).1;
        while after_word(rest).0.contains('=') {
            rest = after_word(rest).1;
        }
    }
    let (shell, mut rest) = after_word(rest);
    if !(shell.starts_with('/') && shell.ends_with("sh")) {
        return text;
    }
    loop {
        let (option, more) = after_word(rest);
        match option.strip_prefix('-') {
            None => return text,
            Some(letters) if letters.contains('c') => return more,
            // `-eo pipefail`
            Some(letters) if letters.ends_with('o') => rest = after_word(more).1,
            Some(_) => rest = more,
        }
    }
}

/// The first word, and what follows it.
fn after_word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    text.split_once(char::is_whitespace).unwrap_or((text, ""))
}

/// How deep commands may be in commands.
const DEPTH: usize = 4;

fn commands(script: &str, depth: usize) -> Vec<Command> {
    let mut lexer = Lexer::default();
    let mut chars = script.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('\n') | None => {}
                Some(c) => lexer.push(c),
            },
            '\'' if !lexer.quoted => {
                lexer.word();
                chars.by_ref().take_while(|c| *c != '\'').for_each(|c| lexer.push(c));
            }
            '"' => lexer.quoted = !lexer.quoted,
            '$' => match chars.peek() {
                Some('(') => {
                    chars.next();
                    lexer.open();
                }
                Some('{') => {
                    chars.next();
                    let inside: String = chars.by_ref().take_while(|c| *c != '}').collect();
                    let name: String = inside.chars().take_while(|c| is_name(*c)).collect();
                    lexer.variable(name);
                }
                _ => {
                    let mut name = String::new();
                    while let Some(c) = chars.next_if(|c| is_name(*c)) {
                        name.push(c);
                    }
                    lexer.variable(name);
                }
            },
            '`' => match lexer.outer.last() {
                Some((_, '`')) => lexer.close(),
                _ => lexer.open_with('`'),
            },
            ')' if !lexer.quoted => lexer.close(),
            c if lexer.quoted => lexer.push(c),
            '(' => lexer.open(),
            ';' | '&' | '|' | '\n' => lexer.end_command(),
            '#' if lexer.word.is_none() => while chars.next_if(|c| *c != '\n').is_some() {},
            '<' | '>' => {
                // `2>&1`
                lexer.end_word();
                lexer.role = if c == '<' { Role::Input } else { Role::Output };
                while chars.next_if(|c| matches!(c, '<' | '>' | '&' | '-' | '!')).is_some() {}
            }
            c if c.is_whitespace() => lexer.end_word(),
            c => lexer.push(c),
        }
    }
    lexer.end_command();
    lexer.done.into_iter().flat_map(|command| unwrap(command, depth)).collect()
}

/// `sh -c 'script'` is the script; what merely leads to a command is left out.
fn unwrap(mut command: Command, depth: usize) -> Vec<Command> {
    let leads = |word: &Word| {
        let assigns =
            word.text.split_once('=').is_some_and(|(name, _)| !name.is_empty() && name.chars().all(is_name));
        LEADING.contains(&word.text.as_str()) || assigns || word.text == "}"
    };
    let leading = command.words.iter().take_while(|word| leads(word)).count();
    let variables = command.words.drain(..leading).flat_map(|word| word.variables).collect::<Vec<_>>();
    let Some(first) = command.words.first_mut() else {
        let word = Word { text: ":".to_owned(), variables, role: Role::Argument };
        return if word.variables.is_empty() { Vec::new() } else { vec![Command { words: vec![word] }] };
    };
    first.variables.extend(variables);
    let is_shell = matches!(first.text.rsplit('/').next(), Some("sh" | "bash" | "dash" | "ash"));
    let script = command.words.iter().position(|word| word.text.starts_with('-') && word.text.contains('c'));
    match script.and_then(|at| command.words.get(at + 1)) {
        Some(script) if is_shell && depth < DEPTH => commands(&script.text.clone(), depth + 1),
        _ => vec![command],
    }
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

#[derive(Default)]
struct Lexer {
    done: Vec<Command>,
    command: Command,
    word: Option<Word>,
    role: Role,
    quoted: bool,
    /// What the commands around this one were in the middle of: whether in quotes, and how this one was opened.
    outer: Vec<(bool, char)>,
}

impl Lexer {
    /// A command inside another one: `$(…)`, `(…)`.
    fn open(&mut self) {
        self.open_with('(');
    }

    fn open_with(&mut self, by: char) {
        self.end_command();
        self.outer.push((self.quoted, by));
        self.quoted = false;
    }

    fn close(&mut self) {
        self.end_command();
        self.quoted = self.outer.pop().is_some_and(|(quoted, _)| quoted);
    }

    fn word(&mut self) -> &mut Word {
        let role = self.role;
        self.word.get_or_insert_with(|| Word { role, ..Word::default() })
    }

    fn push(&mut self, c: char) {
        self.word().text.push(c);
    }

    fn variable(&mut self, name: String) {
        let word = self.word();
        word.text.push('$');
        word.text.push_str(&name);
        if !name.is_empty() {
            word.variables.push(name);
        }
    }

    fn end_word(&mut self) {
        if let Some(word) = self.word.take() {
            self.role = Role::Argument;
            self.command.words.push(word);
        }
    }

    fn end_command(&mut self) {
        self.end_word();
        self.role = Role::Argument;
        if !self.command.words.is_empty() {
            self.done.push(std::mem::take(&mut self.command));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(created_by: &str) -> Vec<String> {
        match read(created_by) {
            Step::Run(commands) => commands.iter().map(Command::shown).collect(),
            Step::Other => vec!["-".to_owned()],
            Step::WorkDir(dir) => vec![format!("@{dir}")],
        }
    }

    #[test]
    fn commands_are_found_as_builders_write_them() {
        let cases: &[(&str, &[&str])] = &[
            ("/bin/sh -c #(nop) COPY file:abc in /srv ", &["-"]),
            ("/bin/sh -c #(nop) WORKDIR /srv/app", &["@/srv/app"]),
            ("WORKDIR /srv", &["@/srv"]),
            ("COPY a b # buildkit", &["-"]),
            ("", &["-"]),
            ("/bin/sh -c wc -c < /etc/motd > /srv/size", &["wc -c < /etc/motd > /srv/size"]),
            ("RUN /bin/sh -c apt-get update && rm -rf /x # buildkit", &["apt-get update", "rm -rf /x"]),
            ("RUN |2 A=b C=d /bin/sh -c echo $A # buildkit", &["echo $A"]),
            ("|1 A=b /bin/sh -c make", &["make"]),
            ("/bin/bash -o pipefail -ec a | b", &["a", "b"]),
            ("RUN |1 X=1 /bin/bash -eo pipefail -c a", &["a"]),
            ("/bin/sh /setup.sh", &["/bin/sh /setup.sh"]),
            ("/bin/sh -c sh -c 'a; b'", &["a", "b"]),
            ("/bin/sh -c A=1 exec env B=2 prog x", &["prog x"]),
            ("/bin/sh -c if [ -f /x ]; then a 'b c'; fi", &["[ -f /x ]", "a b c"]),
            ("/bin/sh -c x=$(cat /etc/os) # why; not", &["cat /etc/os"]),
            ("/bin/sh -c a \\\n  b", &["a b"]),
            ("/bin/sh -c a 2>&1 >>/log", &["a 2 > 1 > /log"]),
            ("RUN make all", &["make all"]),
            ("RUN V=\"$(cat /etc/v)\" && echo $V > /x", &["cat /etc/v", "echo $V > /x"]),
            ("RUN echo \"don't\" && wc -c < /etc/motd", &["echo don't", "wc -c < /etc/motd"]),
            ("RUN echo \"a `cat /b` c\" d; e", &["echo a ", "cat /b", " c d", "e"]),
            ("RUN (cd /x && a) | b ''", &["cd /x", "a", "b "]),
            ("bazel build ...", &["bazel build ..."]),
        ];
        for (created_by, expected) in cases {
            assert_eq!(lines(created_by), *expected, "{created_by}");
        }
    }

    #[test]
    fn redirections_and_variables_are_known() {
        let Step::Run(commands) = read("/bin/sh -c a <in >out \"${B:-x}/$C\"") else { panic!() };
        let words = &commands[0].words;
        assert_eq!(
            (words[1].role, words[2].role, words[3].role),
            (Role::Input, Role::Output, Role::Argument)
        );
        assert_eq!(words[3].variables, ["B", "C"]);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read(text in ".{0,200}") {
            read(&text);
        }
    }
}
