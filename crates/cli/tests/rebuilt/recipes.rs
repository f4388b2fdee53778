//! What is built. `FROM os`, `FROM service` and `FROM trigger` stand for the bases.

/// What must come out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    /// Equal to the rebuild, and graded `clean`.
    Clean,
    /// Equal to the rebuild, and graded one of these.
    Equal(&'static [&'static str]),
    /// Not what a rebuild makes, and graded one of these.
    Differs(&'static [&'static str]),
    /// Whatever it is (storages write different layers), not `clean` when it differs.
    Graded(&'static [&'static str]),
}

use Expect::{Clean, Differs, Equal, Graded};

/// A Dockerfile and what is expected of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recipe {
    pub(crate) name: &'static str,
    pub(crate) expect: Expect,
    /// One layer per instruction, as other builders make them; buildah alone makes one of all.
    pub(crate) layers: bool,
    /// Media types, and with them the fields that the config can have.
    pub(crate) format: &'static str,
    pub(crate) text: &'static str,
    /// What the machine must have for it: a file of the context, or `apt`.
    pub(crate) needs: Option<&'static str>,
    /// What a finding must name.
    pub(crate) says: Option<&'static str>,
}

const fn one(name: &'static str, expect: Expect, text: &'static str) -> Recipe {
    Recipe { name, expect, layers: false, format: "oci", text, needs: None, says: None }
}

impl Recipe {
    /// Whether the image says what it was built on: in Docker's format it says nothing, and with a layer per instruction
    /// buildah gives the digest of its own last intermediate image.
    pub(crate) fn names_base(&self) -> bool {
        self.format == "oci" && !self.layers
    }

    const fn layers(mut self) -> Self {
        self.layers = true;
        self
    }

    const fn docker(mut self) -> Self {
        self.format = "docker";
        self
    }

    const fn says(mut self, what: &'static str) -> Self {
        self.says = Some(what);
        self
    }

    const fn needs(mut self, what: &'static str) -> Self {
        self.needs = Some(what);
        self
    }
}

const ANY: &[&str] = &["clean", "shadowed", "db-shadowed", "broken"];
const NOT_CLEAN: &[&str] = &["shadowed", "db-shadowed", "broken"];
const SHADOWED: &[&str] = &["shadowed"];
const DATABASE: &[&str] = &["db-shadowed"];
const BROKEN: &[&str] = &["broken"];

pub(crate) const ALL: &[Recipe] = &[
    // Files of its own.
    one("copy-file", Clean, "FROM os\nCOPY hello /srv/app/hello\n"),
    one("copy-file-layers", Clean, "FROM os\nCOPY hello /srv/app/hello\nCOPY tree /srv/tree\n").layers(),
    one("copy-owner-mode", Clean, "FROM os\nCOPY --chown=1000:1001 --chmod=0750 tree /srv/tree\n"),
    one("add-archive", Clean, "FROM os\nADD site.tar.gz /srv/site/\n"),
    one("add-links", Clean, "FROM os\nADD links.tar /srv/links/\n").layers(),
    one("setuid", Clean, "FROM os\nCOPY --chmod=4755 hello /srv/hello\n"),
    one(
        "multi-stage",
        Clean,
        "FROM os AS work\nCOPY hello /in\nRUN sort /in > /out\n\nFROM os\nCOPY --from=work /out /srv/out\n",
    ),
    one("run-own-files", Clean, "FROM os\nRUN mkdir -p /srv/out && echo built > /srv/out/stamp\n"),
    one("run-own-files-layers", Clean, "FROM os\nRUN mkdir /srv/own && echo a > /srv/own/a\nRUN echo b > /srv/own/b && rm /srv/own/a\n").layers(),
    one("run-temporary", Clean, "FROM os\nRUN echo x > /tmp/x && cat /tmp/x > /srv/x && rm /tmp/x\n").layers(),
    one(
        "symbolic-links",
        Clean,
        "FROM os\nRUN mkdir /srv/real && ln -s real /srv/link && echo x > /srv/link/f && ln -s /srv/real/f /srv/g\n",
    ),
    one("hard-links", Clean, "FROM os\nRUN mkdir /srv/h && echo x > /srv/h/a && ln /srv/h/a /srv/h/b\n"),
    one("capability", Clean, "FROM os\nCOPY hello /srv/hello\nRUN setcap cap_net_raw+ep /srv/hello\n").layers(),
    one("static-program", Clean, "FROM os\nCOPY static /usr/local/bin/static\n").says("static").needs("static"),
    one("usr-merge", Clean, "FROM os\nCOPY hello /lib/app/hello\nRUN echo x > /bin/x\n").layers(),
    // Over the base's.
    one("over-unchanged", Clean, "FROM os\nCOPY hello /etc/banner\n"),
    one("over-changed", Equal(SHADOWED), "FROM os\nCOPY hello /etc/motd\n"),
    one("edit-changed", Differs(SHADOWED), "FROM os\nRUN sed -i s/blue/red/ /etc/app.conf\n"),
    one("chmod-unchanged", Clean, "FROM os\nRUN chmod 0600 /etc/banner\n"),
    one("chmod-changed", Differs(SHADOWED), "FROM os\nRUN chmod 0600 /etc/motd\n"),
    one("chown-folder", Differs(SHADOWED), "FROM os\nRUN chown -R 1000:1000 /opt/conf\n"),
    one("folder-mode-changed", Differs(SHADOWED), "FROM os\nCOPY hello /opt/shared/hello\n"),
    one("folder-owner-changed", Differs(SHADOWED), "FROM os\nRUN echo x > /opt/plugins/x\n").layers(),
    one("folder-became-link", Differs(NOT_CLEAN), "FROM os\nCOPY hello /opt/data/hello\n"),
    one("through-moved-link", Differs(NOT_CLEAN), "FROM os\nCOPY hello /opt/current/hello\n"),
    one("owner-has-another-number", Differs(NOT_CLEAN), "FROM os\nCOPY --chown=mover:mover hello /srv/hello\n"),
    one("folder-vanished", Equal(ANY), "FROM os\nCOPY hello /opt/legacy/plugins/hello\n"),
    one("stale-copy", Differs(SHADOWED), "FROM os\nRUN cp /usr/lib/libpatched.so.1 /srv/copy\n").says("libpatched.so.1"),
    one(
        "stale-copy-of-stage",
        Differs(SHADOWED),
        "FROM os AS work\nFROM os\nCOPY --from=work /usr/lib/libpatched.so.1 /srv/lib/\n",
    ),
    one("hard-link-to-base", Differs(SHADOWED), "FROM os\nRUN ln /usr/lib/libpatched.so.1 /usr/lib/libmine.so.1\n"),
    one("link-to-vanished", Equal(BROKEN), "FROM os\nRUN ln -s /opt/legacy/bin/tool /usr/local/bin/tool\n").says("opt/legacy/bin/tool"),
    one("output-of-changed", Differs(SHADOWED), "FROM os\nRUN wc -c < /etc/motd > /srv/size\n"),
    one("output-of-variable", Differs(SHADOWED), "FROM os\nRUN echo $RELEASE > /srv/release\n"),
    one("output-of-sourced", Differs(SHADOWED), "FROM os\nRUN . /etc/os-release; echo $VERSION_ID > /srv/release\n"),
    one("output-of-search", Differs(SHADOWED), "FROM os\nRUN ls /usr/share/doc > /srv/all\n"),
    one("certificates", Differs(NOT_CLEAN), "FROM os\nRUN cat /etc/banner >> /etc/ssl/certs/ca-certificates.crt\n"),
    one("loader-cache", Differs(NOT_CLEAN), "FROM os\nCOPY libmine.so.1 /usr/local/lib/\nRUN ldconfig\n"),
    one("site-packages", Equal(ANY), "FROM os\nCOPY hello /usr/lib/python3.11/site-packages/hello.py\n"),
    // Removals.
    one("remove-unchanged", Clean, "FROM os\nRUN rm /opt/kept/README\n"),
    one("remove-changed", Equal(ANY), "FROM os\nRUN rm /etc/motd\n"),
    one("remove-vanished", Differs(NOT_CLEAN), "FROM os\nRUN rm -f /opt/legacy/README\n").layers(),
    one("remove-vanished-folder", Equal(ANY), "FROM os\nRUN rm -rf /opt/legacy\n"),
    one("remove-beside-new", Equal(ANY), "FROM os\nRUN rm -rf /opt/kept\n"),
    one("remove-folder", Clean, "FROM os\nRUN rm -rf /opt/kept/bin\n"),
    one("remove-not-there-yet", Differs(SHADOWED), "FROM os\nRUN rm -rf /opt/fresh\n"),
    one("remove-all-of-folder", Differs(NOT_CLEAN), "FROM os\nRUN rm /usr/share/doc/*\n"),
    one("opaque-folder", Graded(ANY), "FROM os\nRUN rm -rf /opt/conf && mkdir /opt/conf && echo x > /opt/conf/x\n"),
    one("file-for-folder", Clean, "FROM os\nRUN rm -rf /opt/kept && echo x > /opt/kept\n"),
    one("link-for-folder", Graded(ANY), "FROM os\nRUN rm -rf /opt/conf && ln -s /srv /opt/conf\n"),
    // Databases.
    one("dpkg", Differs(DATABASE), "FROM os\nCOPY greeter.deb /tmp/\nRUN dpkg -i /tmp/greeter.deb\n").says("package database"),
    one(
        "apt-get",
        Differs(DATABASE),
        "FROM os\nRUN apt-get update && apt-get install -y greeter && rm -rf /var/lib/apt/lists\n",
    )
    .layers()
    .needs("apt"),
    one("useradd", Differs(NOT_CLEAN), "FROM os\nRUN useradd -m -u 1000 app\nUSER app\n").layers(),
    // Programs.
    one("soname-gone", Equal(BROKEN), "FROM os\nCOPY greets /usr/local/bin/greets\n").says("libgreet.so.1"),
    one("symbol-version-gone", Equal(BROKEN), "FROM os\nCOPY versioned /usr/local/bin/versioned\n").says("V_1.1"),
    one("interpreter-gone", Equal(BROKEN), "FROM os\nCOPY --chmod=0755 script /usr/local/bin/script\n")
        .says("python3.11"),
    one("own-library", Clean, "FROM os\nCOPY mine /usr/local/bin/\nCOPY libmine.so.1 /usr/lib/\n"),
    // Configs.
    one("env-path", Clean, "FROM os\nENV PATH=/srv/app/bin:$PATH\nCOPY hello /srv/hello\n"),
    one("env-path-append", Clean, "FROM os\nENV PATH=\"$PATH:/srv/app/bin\"\nENV APP=1\nCOPY hello /srv/hello\n").layers(),
    one("env-conflict", Equal(ANY), "FROM os\nENV RELEASE=mine APP=1\nCOPY hello /srv/hello\n").says("RELEASE"),
    one("env-of-base", Differs(NOT_CLEAN), "FROM os\nENV BUILT_ON=$RELEASE\nCOPY hello /srv/hello\n").says("BUILT_ON"),
    one("env-same-value", Equal(ANY), "FROM os\nENV RELEASE=12\nCOPY hello /srv/hello\n"),
    one("config-only", Clean, "FROM os\nLABEL a=b\nENV C=d\n"),
    one("config-only-layers", Clean, "FROM os\nLABEL a=b\nENV C=d\n").layers(),
    one("user", Clean, "FROM os\nCOPY hello /srv/hello\nUSER 1000:1000\n"),
    one("user-by-name", Clean, "FROM os\nUSER service\nRUN cat /etc/banner > /tmp/x\n"),
    one("entrypoint", Clean, "FROM os\nCOPY hello /srv/hello\nENTRYPOINT [\"/srv/hello\"]\n"),
    one("entrypoint-shell", Clean, "FROM os\nCOPY hello /srv/hello\nENTRYPOINT exec /srv/hello\n"),
    one("cmd", Clean, "FROM os\nCOPY hello /srv/hello\nCMD [\"/srv/hello\"]\n"),
    one("entrypoint-cmd", Clean, "FROM os\nCOPY hello /srv/hello\nENTRYPOINT [\"/srv/hello\"]\nCMD [\"a\"]\n").layers(),
    one("labels", Clean, "FROM os\nARG V=1\nLABEL org.example.version=$V org.example.own=1\nCOPY hello /srv/hello\n"),
    one("label-conflict", Equal(ANY), "FROM os\nLABEL org.example.release=mine\nCOPY hello /srv/hello\n").says("org.example.release"),
    one("workdir", Clean, "FROM os\nWORKDIR /srv/app\nCOPY hello .\nWORKDIR sub\n").layers(),
    one(
        "every-field",
        Clean,
        "FROM os\nMAINTAINER somebody\nCOPY hello /srv/hello\nEXPOSE 80 53/udp\nVOLUME /srv/volume\nSTOPSIGNAL SIGINT\n\
         HEALTHCHECK --interval=5s --retries=2 CMD /srv/hello\nONBUILD ENV TRIGGERED=yes\nSHELL [\"/bin/sh\", \"-ec\"]\n",
    )
    .docker(),
    one("service-inherits", Clean, "FROM service\nCOPY hello /srv/hello\n").docker(),
    one("service-inherits-layers", Clean, "FROM service\nCOPY hello /srv/hello\nLABEL a=b\n").docker().layers(),
    one("service-cmd", Clean, "FROM service\nCOPY hello /srv/hello\nCMD [\"mine\"]\n").docker(),
    one("service-entrypoint", Clean, "FROM service\nCOPY hello /srv/hello\nENTRYPOINT [\"/srv/hello\"]\n").docker(),
    one("service-same-entrypoint", Graded(ANY), "FROM service\nCOPY hello /srv/hello\nENTRYPOINT [\"/opt/runtime/bin/start\", \"--release=12\"]\n").docker(),
    one(
        "service-overrides",
        Equal(ANY),
        "FROM service\nCOPY hello /srv/hello\nUSER root\nWORKDIR /srv\nEXPOSE 9090\nVOLUME /srv/data\nSTOPSIGNAL SIGINT\n\
         HEALTHCHECK NONE\n",
    )
    .docker(),
    one("service-relative", Differs(NOT_CLEAN), "FROM service\nUSER root\nCOPY hello hello\n").docker(),
    one("service-oci", Clean, "FROM service\nUSER root\nCOPY hello /srv/hello\n"),
    one("triggers", Differs(NOT_CLEAN), "FROM trigger\nCOPY hello /srv/hello\n").docker(),
];
