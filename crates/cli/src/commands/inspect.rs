use std::{collections::BTreeMap, fmt::Write as _};

use palan::{
    inspect::{self, ImageReport, Report},
    place::Location,
};

use crate::{
    args::ReportFormat,
    exit::Result,
    session::Session,
    ui::{self, text},
};

/// Show what an image is: platforms, layers and the commands that made them, config, annotations
///
/// Of an index, all images, unless --platform chooses. No layer is downloaded.
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
    let platform = session.global.one_platform()?;
    let report = inspect::inspect(source.place.as_ref(), source.chosen()?, platform.as_ref()).await?;
    match args.format {
        ReportFormat::Json => session.ui.json(&report),
        ReportFormat::Text => session.ui.line(describe(&report)),
    }
}

fn describe(report: &Report) -> String {
    let mut out = format!("{}\n", text::one_line(&report.name, usize::MAX));
    field(&mut out, "digest", report.digest);
    field(&mut out, "type", text::one_line(report.media_type.as_str(), 200));
    map(&mut out, "annotation", Some(&report.annotations));
    for image in &report.images {
        describe_image(&mut out, image, report);
    }
    if !report.others.is_empty() {
        let rows = report.others.iter().map(|other| {
            let about = other.about.map(|digest| digest.to_string()).unwrap_or_default();
            [text::one_line(&other.what, 60), text::size(other.size), other.digest.to_string(), about]
        });
        let _ = write!(
            out,
            "\nother entries\n{}\n",
            indent(&ui::table(&["WHAT", "SIZE", "DIGEST", "ABOUT"], rows))
        );
    }
    out.truncate(out.trim_end().len());
    out
}

fn describe_image(out: &mut String, image: &ImageReport, report: &Report) {
    let _ = writeln!(out, "\n{}", text::one_line(&image.platform, 100));
    if image.digest != report.digest {
        field(out, "digest", image.digest);
        map(out, "annotation", Some(&image.annotations));
    }
    optional(out, "created", image.created.as_deref());
    optional(out, "author", image.author.as_deref());
    optional(out, "base", image.base.as_deref());
    let config = &image.config;
    optional(out, "user", config.user.as_deref());
    optional(out, "workdir", config.working_dir.as_deref());
    list(out, "entrypoint", config.entrypoint.as_deref());
    list(out, "cmd", config.cmd.as_deref());
    for value in config.env.iter().flatten() {
        optional(out, "env", Some(value));
    }
    let keys = |map: &Option<BTreeMap<String, serde_json::Value>>| {
        map.iter().flatten().map(|(k, _)| k.clone()).collect::<Vec<_>>()
    };
    optional(out, "ports", Some(&keys(&config.exposed_ports).join(" ")));
    optional(out, "volumes", Some(&keys(&config.volumes).join(" ")));
    optional(out, "stop signal", config.stop_signal.as_deref());
    map(out, "label", config.labels.as_ref());
    field(out, "layers", format!("{}, {} as stored", image.layers.len(), text::size(image.size)));
    let rows = image.layers.iter().enumerate().map(|(i, layer)| {
        let command = layer.created_by.as_deref().map_or_else(|| "?".to_owned(), |c| text::one_line(c, 80));
        [(i + 1).to_string(), text::size(layer.size), layer.digest.to_string(), command]
    });
    let _ = writeln!(out, "{}", indent(&ui::table(&["", "SIZE", "DIGEST", "MADE BY"], rows)));
}

fn field(out: &mut String, name: &str, value: impl std::fmt::Display) {
    let _ = writeln!(out, "  {name:<12}{value}");
}

/// Values of an image are shown on one line each, and not at all when empty.
fn optional(out: &mut String, name: &str, value: Option<&str>) {
    if let Some(value) = value.filter(|v| !v.is_empty()) {
        field(out, name, text::one_line(value, 200));
    }
}

fn list(out: &mut String, name: &str, words: Option<&[String]>) {
    let Some(words) = words.filter(|w| !w.is_empty()) else { return };
    let words: Vec<String> = words.iter().map(|w| format!("{w:?}")).collect();
    optional(out, name, Some(&words.join(" ")));
}

fn map(out: &mut String, name: &str, values: Option<&BTreeMap<String, String>>) {
    for (key, value) in values.into_iter().flatten() {
        optional(out, name, Some(&format!("{key} = {value}")));
    }
}

fn indent(table: &str) -> String {
    table.lines().map(|line| format!("    {line}").trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}
