use std::fmt::Write as _;

use palan::{
    place::Location,
    tree::{self, Node},
};

use crate::{args::ReportFormat, exit::Result, session::Session, ui::text};

/// Show everything that an image names, and what refers to it
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The image
    #[arg(value_name = "IMAGE")]
    image: Location,

    /// The form of the report
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    format: ReportFormat,
}

pub(super) async fn run(args: &Args, session: &Session) -> Result {
    let source = session.places()?.source(&args.image)?;
    let root = tree::tree(source.place.as_ref(), source.chosen()?).await?;
    match args.format {
        ReportFormat::Json => session.ui.json(&root),
        ReportFormat::Text => {
            let mut out = String::new();
            draw(&mut out, &root, "", "");
            session.ui.line(out.trim_end())
        }
    }
}

/// One line for the node behind `first`, and its children behind `rest`.
fn draw(out: &mut String, node: &Node, first: &str, rest: &str) {
    let _ = write!(out, "{first}{} {}", node.role, node.digest);
    for detail in [&node.platform, &node.artifact_type].into_iter().flatten() {
        let _ = write!(out, "  {}", text::one_line(detail, 100));
    }
    let _ = writeln!(out, "  {}{}", text::size(node.size), if node.missing { "  MISSING" } else { "" });
    let below: Vec<&Node> = node.children.iter().chain(&node.referrers).collect();
    for (i, child) in below.iter().enumerate() {
        let (corner, line) = if i + 1 == below.len() { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        draw(out, child, &format!("{rest}{corner}"), &format!("{rest}{line}"));
    }
}
