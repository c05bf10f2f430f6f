//! How a gateway for good writes configurations down: templates, and what their variables stand for.
//!
//! The templates are the user's. Whatever they leave out that the gateway needs is added to what they give: an IPv6
//! address, where the gateway has IPv6. So a template from before there was IPv6 goes on.

mod lines;
mod saved;

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs, io,
    net::IpAddr,
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use ipnet::IpNet;
use wg::{PrivateKey, conf::Conf};
use zeroize::Zeroizing;

pub(crate) use self::lines::{addresses, in_order, set_addresses};
pub(crate) use self::saved::FILE_NAME as SAVED;
pub use self::saved::Saved;
use crate::{
    client::{Client, Terms},
    directory::DirectoryError,
    environment::{self, PeerId, Texts},
    file::{self, Worth},
    reach::Host,
    roster::Member,
    template::{self, Fault, Place, Source, Template, TemplateError},
};

/// Where templates look for the directory, wherever it is.
const CONFIG: &str = "/config";

/// The template of the gateway's own configuration.
const SERVER: &str = "templates/server.conf";

/// The template of the clients' configurations.
const PEER: &str = "templates/peer.conf";

/// The gateway's own configuration.
const SERVER_CONF: &str = "wg_confs/wg0.conf";

/// A hash of what the clients' configurations have in common.
pub(crate) const STATE: &str = ".adit.state";

/// Keys of the gateway's template that are only a client's or wg-quick's business, and what there is instead.
const UNUSED: [(&str, &str); 4] = [
    ("Table", "the peers' networks have routes in the main table"),
    ("FwMark", "its own packets go by the main table"),
    ("DNS", "DNS_UPSTREAM says where its DNS forwards to"),
    ("SaveConfig", "peers are kept as they change"),
];

/// Longest file that a template shows, in bytes.
const MAX_FILE_LEN: u64 = 64 * 1024;

/// Stands for a private key that the gateway does not know, until its line is replaced.
const UNKNOWN_KEY: &str = "\u{1}";

/// The templates of a directory, and the variables of the environment.
#[derive(Clone, Debug)]
pub struct Form {
    server: Template,
    peer: Template,
    /// For clients from before there were preshared keys.
    peer_without_preshared_key: Template,
    variables: Texts,
    root: PathBuf,
    endpoint: EndpointOf,
    /// The gateway's own.
    addresses: Vec<IpAddr>,
    /// Whether what the clients' configurations have in common is what it was when they were written.
    is_as_before: bool,
}

/// Who says where clients connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointOf {
    /// The user: all clients' configurations have the same.
    User,
    /// Nobody: the address was found, and a client's configuration keeps the one that it has.
    Nobody,
}

/// The gateway's own settings in its template.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerSettings {
    /// `ListenPort`.
    pub listen_port: Option<u16>,
    /// `MTU`.
    pub mtu: Option<u16>,
    /// `PreUp`, `PostUp`, `PreDown`, `PostDown`.
    pub hooks: Hooks,
    /// What it says beyond that and is not done, a line each.
    pub notes: Vec<String>,
}

/// The commands of the gateway's template; `%i` is the interface's name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hooks {
    /// Before the interface is there.
    pub pre_up: Vec<String>,
    /// When it is up.
    pub post_up: Vec<String>,
    /// Before it goes.
    pub pre_down: Vec<String>,
    /// When it is gone.
    pub post_down: Vec<String>,
}

impl Form {
    /// Reads a directory's templates, and writes those that are missing. `variables` are the environment's, `addresses`
    /// the gateway's own.
    ///
    /// # Errors
    ///
    /// [`DirectoryError::Template`] for what a template has that is not rendered; [`DirectoryError::File`].
    pub fn load(
        root: &Path,
        variables: Texts,
        endpoint: EndpointOf,
        addresses: &[IpNet],
    ) -> Result<Self, DirectoryError> {
        let (found_server, found_peer) = (read(&root.join(SERVER))?, read(&root.join(PEER))?);
        let server = found_server.as_deref().unwrap_or(template::SERVER);
        let peer = with_preshared_key(found_peer.as_deref().unwrap_or(template::PEER));
        let parse = |name: &str, text: &str| Template::parse(&root.join(name).display().to_string(), text);
        if let Some(found) = &found_peer {
            // Its lines are counted before there is one more.
            parse(PEER, found)?;
        }
        let without: String = peer
            .split_inclusive('\n')
            .filter(|line| !line.contains("PresharedKey"))
            .collect();
        let form = Self {
            server: parse(SERVER, server)?,
            peer: parse(PEER, &peer)?,
            peer_without_preshared_key: parse(PEER, &without)?,
            variables,
            endpoint,
            root: root.to_owned(),
            addresses: addresses.iter().map(IpNet::addr).collect(),
            is_as_before: false,
        };
        if found_server.is_none() {
            write(&root.join(SERVER), server)?;
        }
        match found_peer {
            None => write(&root.join(PEER), &peer)?,
            // Where the file cannot be written, the line is there all the same whenever it is read.
            Some(found) if found != peer => write(&root.join(PEER), &peer).or_else(unless_read_only)?,
            Some(_) => {}
        }
        Ok(form)
    }

    /// Keeps the gateway's own template as a gateway that runs has it: it takes it at its start. Gives whether it is
    /// another.
    pub fn keep_server(&mut self, running: &Self) -> bool {
        let is_other = self.server != running.server;
        self.server.clone_from(&running.server);
        is_other
    }

    /// Who says where clients connect to.
    pub fn endpoint(&self) -> EndpointOf {
        self.endpoint
    }

    /// These terms, written by this form.
    ///
    /// # Errors
    ///
    /// If the directory cannot be read, or the template names a file that cannot be.
    pub fn of(mut self, terms: Terms) -> Result<Terms, DirectoryError> {
        self.is_as_before = self.compare(&terms)?;
        Ok(Terms {
            form: Some(Arc::new(self)),
            ..terms
        })
    }

    /// Whether a client's configuration is to stay, though a person may have edited it: it has this client's keys and
    /// addresses, and nothing has changed that is said to all.
    pub(crate) fn leaves(&self, conf: &str, client: &Client, terms: &Terms) -> bool {
        let key = match &client.private_key {
            Some(key) => key.danger_base64(),
            None => Zeroizing::new(client.public_key.to_string()),
        };
        let has_preshared_key = match &client.preshared_key {
            Some(key) => conf.contains(key.danger_base64().as_str()),
            None => !conf.contains("PresharedKey"),
        };
        let addresses: Vec<IpAddr> = addresses(conf).iter().filter_map(|item| lines::address(item)).collect();
        self.is_as_before
            && conf.contains(key.as_str())
            && conf.contains(&terms.server_key.to_string())
            && has_preshared_key
            && client.addresses.iter().all(|address| addresses.contains(address))
    }

    /// A client's configuration.
    ///
    /// # Errors
    ///
    /// If the template names a file that cannot be read.
    pub(crate) fn peer_conf(&self, member: &Member, terms: &Terms) -> Result<Zeroizing<String>, TemplateError> {
        let Member { id, client, told, .. } = member;
        let name = id.file_name();
        let mut values = self.common(terms);
        if let (Some(host), EndpointOf::Nobody) = (told, self.endpoint) {
            values.set("SERVERURL", host.to_string());
        }
        let v4 = client.addresses.iter().find(|address| address.is_ipv4());
        let address = v4.or(client.addresses.first()).map(ToString::to_string);
        values.set("CLIENT_IP", address.unwrap_or_default());
        values.set("PEER_ID", name.clone());
        values.set("i", id.item().to_string());
        let key = client.private_key.as_ref().map(PrivateKey::danger_base64);
        let key = key.unwrap_or_else(|| Zeroizing::new(UNKNOWN_KEY.to_owned()));
        values.add_file(format!("{name}/privatekey-{name}"), key);
        values.add_file(
            format!("{name}/publickey-{name}"),
            Zeroizing::new(client.public_key.to_string()),
        );
        let template = match &client.preshared_key {
            Some(key) => {
                values.add_file(format!("{name}/presharedkey-{name}"), key.danger_base64());
                &self.peer
            }
            None => &self.peer_without_preshared_key,
        };
        let mut text = template.render(&values)?;
        if client.private_key.is_none() {
            text = without_private_key(&text, client);
        }
        text = lines::add_addresses(&text, &client.addresses);
        text = lines::without_empty(&text, "DNS");
        if let Some(mtu) = terms.mtu {
            text = lines::set(&text, "MTU", &mtu.to_string());
        }
        Ok(text)
    }

    /// The `[Interface]` of the gateway's own configuration, with the empty line that comes before its peers.
    ///
    /// # Errors
    ///
    /// If the template names a file that cannot be read, or says what no gateway can be.
    pub fn server_conf(
        &self,
        key: &PrivateKey,
        listen_port: u16,
        terms: &Terms,
    ) -> Result<Zeroizing<String>, TemplateError> {
        let text = self.render_server(key, terms)?;
        let settings = self.settings_of(&text)?;
        let mut text = lines::add_addresses(&text, &self.addresses);
        if settings.listen_port != Some(listen_port) {
            text = lines::set(&text, "ListenPort", &listen_port.to_string());
        }
        text.push('\n');
        Ok(text)
    }

    /// What the gateway's template says besides keys and addresses.
    ///
    /// # Errors
    ///
    /// As [`Form::server_conf`].
    pub fn server_settings(&self, key: &PrivateKey, terms: &Terms) -> Result<ServerSettings, TemplateError> {
        self.settings_of(&self.render_server(key, terms)?)
    }

    fn render_server(&self, key: &PrivateKey, terms: &Terms) -> Result<Zeroizing<String>, TemplateError> {
        let values = self.of_server(key, terms);
        let text = self.server.render(&values)?;
        Ok(match self.addresses.first() {
            // What the template takes for the gateway's address is that of a /24 alone.
            Some(first) => {
                let assumed = format!("{}.1", values.text("INTERFACE"));
                lines::replace_address(&text, &assumed, &first.to_string())
            }
            None => text,
        })
    }

    /// Reads the rendered template. What a gateway cannot honour is an error, or a note where the gateway is as good
    /// without it.
    fn settings_of(&self, text: &str) -> Result<ServerSettings, TemplateError> {
        let file = self.root.join(SERVER).display().to_string();
        let wrong = |line, column, fault| TemplateError {
            file: file.clone(),
            place: Place { line, column },
            fault,
        };
        let conf =
            Conf::parse(SERVER, text).map_err(|error| wrong(error.line, error.column, Fault::Conf(error.fault)))?;
        if let Some(line) = lines::of_section(text, "[peer]") {
            return Err(wrong(line, 1, Fault::Peer));
        }
        let of = |key| lines::of_key(text, key).unwrap_or(1);
        let interface = conf.interface();
        let foreign = interface.addresses.iter().map(IpNet::addr);
        if let Some(address) = { foreign }.find(|address| !self.addresses.contains(address)) {
            let own = list(&self.addresses, " and ");
            return Err(wrong(of("Address"), 1, Fault::Address { address, own }));
        }
        let notes = UNUSED.iter().filter_map(|(key, instead)| {
            let line = lines::of_key(text, key)?;
            Some(format!("{file}:{line}: {key} does nothing for the gateway; {instead}"))
        });
        Ok(ServerSettings {
            notes: notes.collect(),
            listen_port: interface.listen_port,
            mtu: interface.mtu,
            hooks: Hooks {
                pre_up: interface.pre_up,
                post_up: interface.post_up,
                pre_down: interface.pre_down,
                post_down: interface.post_down,
            },
        })
    }

    /// The networks behind a peer as its variable has them; in adit's own words if they come from elsewhere.
    pub fn networks(&self, id: &PeerId, networks: &[IpNet]) -> String {
        let variable = environment::variable_of_networks(id);
        self.as_given(&variable, |text| {
            environment::networks(text).is_ok_and(|given| given == networks)
        })
        .unwrap_or_else(|| list(networks, ","))
    }

    fn compare(&self, terms: &Terms) -> Result<bool, DirectoryError> {
        // Who removes the gateway's configuration wants all of them anew.
        if !self.root.join(SERVER_CONF).exists() {
            return Ok(false);
        }
        if let Some(state) = read(&self.root.join(STATE))? {
            return Ok(state == self.state(terms)?);
        }
        // A directory of linuxserver's: its variables say it.
        let Some(saved) = read(&self.root.join(saved::FILE_NAME))? else {
            return Ok(false);
        };
        let (before, present) = (Saved::parse(&saved), self.saved(terms));
        let same = |name: &&str| before.value(name) == present.value(name);
        let url = ["SERVERURL"].iter().filter(|_| self.endpoint == EndpointOf::User);
        Ok(["SERVERPORT", "PEERDNS", "ALLOWEDIPS"].iter().chain(url).all(same))
    }

    /// Remembers the variables for the next start.
    ///
    /// # Errors
    ///
    /// If the directory cannot be written.
    pub fn remember(&self, terms: &Terms) -> Result<(), DirectoryError> {
        let saved = self.saved(terms).print();
        for (name, text) in [(saved::FILE_NAME, saved), (STATE, self.state(terms)?)] {
            let path = self.root.join(name);
            file::write_if_changed(&path, text.as_bytes(), Worth::Derived).map_err(error("write", &path))?;
        }
        Ok(())
    }

    fn saved(&self, terms: &Terms) -> Saved {
        let mut values = self.common(terms);
        let given = self.variables.text("PEERDNS").unwrap_or_default().trim();
        let is_automatic = given.is_empty() || given.eq_ignore_ascii_case("auto");
        if terms.dns.is_empty() && is_automatic && self.addresses.first().is_some_and(IpAddr::is_ipv4) {
            // That image has no other default: whether the gateway answers there changes none of its files.
            let gateway = format!("{}.1", values.text("INTERFACE"));
            values.set("PEERDNS", gateway);
        }
        Saved::new(|name| values.text(name).replace(char::is_control, " "))
    }

    /// The clients' template with all that they have in common, hashed.
    fn state(&self, terms: &Terms) -> Result<String, TemplateError> {
        let mut values = self.common(terms);
        for own in ["CLIENT_IP", "PEER_ID", "i"] {
            values.set(own, format!("\u{1}{own}"));
        }
        if self.endpoint == EndpointOf::Nobody {
            values.set("SERVERURL", "\u{1}".into());
        }
        let mut text = self.peer.render(&values)?;
        let _infallible = write!(text, "{:?}", terms.mtu);
        Ok(format!("peer {:016x}\n", fnv1a(text.as_bytes())))
    }

    /// What is the same for all clients.
    fn common(&self, terms: &Terms) -> Values<'_> {
        let mut values = self.own();
        values.set("SERVERURL", terms.endpoint.0.to_string());
        values.set("SERVERPORT", terms.endpoint.1.to_string());
        let allowed_ips = self
            .as_given("ALLOWEDIPS", |text| {
                environment::networks(text).is_ok_and(|given| given == terms.allowed_ips)
            })
            .unwrap_or_else(|| list(&terms.allowed_ips, ", "));
        values.set("ALLOWEDIPS", allowed_ips);
        let servers = terms.dns.iter().map(|host| match host {
            Host::Address(address) => address.to_string(),
            Host::Name(name) => name.clone(),
        });
        let dns = self
            .as_given("PEERDNS", |text| {
                environment::dns(text).is_ok_and(|given| given == terms.dns)
            })
            .unwrap_or_else(|| list(&servers.collect::<Vec<_>>(), ", "));
        values.set("PEERDNS", dns);
        values.add_file(
            "server/publickey-server".into(),
            Zeroizing::new(terms.server_key.to_string()),
        );
        values
    }

    fn of_server(&self, key: &PrivateKey, terms: &Terms) -> Values<'_> {
        let mut values = self.common(terms);
        values.add_file("server/privatekey-server".into(), key.danger_base64());
        values
    }

    /// What is the gateway's own.
    fn own(&self) -> Values<'_> {
        let mut values = Values {
            form: self,
            set: BTreeMap::new(),
            files: BTreeMap::new(),
        };
        let interface = match self.addresses.first() {
            Some(IpAddr::V4(address)) => {
                let [one, two, three, _] = address.octets();
                format!("{one}.{two}.{three}")
            }
            Some(IpAddr::V6(_)) | None => String::new(),
        };
        values.set("INTERFACE", interface);
        values
    }

    /// The text of a variable, if it says what holds.
    fn as_given(&self, variable: &str, holds: impl FnOnce(&str) -> bool) -> Option<String> {
        let text = self.variables.text(variable)?.trim();
        // A line break would end the line of the configuration.
        (!text.is_empty() && !text.contains(char::is_control) && holds(text)).then(|| text.to_owned())
    }
}

/// The values of one rendering.
struct Values<'a> {
    form: &'a Form,
    set: BTreeMap<String, String>,
    /// Files that need not be read, by their path in the directory.
    files: BTreeMap<String, Zeroizing<String>>,
}

impl Values<'_> {
    fn set(&mut self, name: &str, text: String) {
        self.set.insert(name.to_owned(), text);
    }

    fn add_file(&mut self, path: String, content: Zeroizing<String>) {
        self.files.insert(path, content);
    }

    fn text(&self, name: &str) -> String {
        self.variable(name).unwrap_or_default()
    }
}

impl Source for Values<'_> {
    fn variable(&self, name: &str) -> Option<String> {
        let own = self.set.get(name).cloned();
        own.or_else(|| self.form.variables.text(name).map(str::to_owned))
    }

    fn file(&self, path: &str) -> Result<Zeroizing<String>, String> {
        if path.contains('\u{1}') {
            // A client's own file, when only what the clients have in common matters.
            return Ok(Zeroizing::new(path.to_owned()));
        }
        let outside = || format!("only files of the configuration directory are read; put it under {CONFIG}");
        let root = &self.form.root;
        let relative = Path::new(path)
            .strip_prefix(root)
            .or_else(|_| Path::new(path).strip_prefix(CONFIG))
            .map_err(|_| outside())?;
        let is_plain = |component| matches!(component, Component::Normal(_));
        if !relative.components().all(is_plain) {
            return Err(outside());
        }
        if let Some(content) = relative.to_str().and_then(|relative| self.files.get(relative)) {
            return Ok(content.clone());
        }
        let read = || {
            // A link may lead out of the directory.
            let found = root.join(relative).canonicalize()?;
            if !found.starts_with(root.canonicalize()?) {
                return Ok(None);
            }
            if fs::metadata(&found)?.len() > MAX_FILE_LEN {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            fs::read_to_string(&found).map(Zeroizing::new).map(Some)
        };
        read()
            .map_err(|error: io::Error| error.to_string())?
            .ok_or_else(outside)
    }
}

/// The line with the preshared key before each line with an endpoint, for templates from before there was one.
fn with_preshared_key(template: &str) -> String {
    if template.contains("PresharedKey") {
        return template.to_owned();
    }
    let mut text = String::with_capacity(template.len() + 128);
    for line in template.split_inclusive('\n') {
        if line.starts_with("Endpoint") {
            text.push_str("PresharedKey = $(cat /config/${PEER_ID}/presharedkey-${PEER_ID})\n");
        }
        text.push_str(line);
    }
    text
}

/// A comment in place of the line with the private key that only the client has.
fn without_private_key(text: &str, client: &Client) -> Zeroizing<String> {
    let mut replaced = Zeroizing::new(String::with_capacity(text.len() + 128));
    for line in text.split_inclusive('\n') {
        if line.contains(UNKNOWN_KEY) {
            replaced.extend([crate::client::KEY_OF_CLIENT, &client.public_key.to_string(), "\n"]);
        } else {
            replaced.push_str(line);
        }
    }
    replaced
}

fn list<T: ToString>(items: &[T], separator: &str) -> String {
    items
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(separator)
}

/// FNV-1a: tells one text from another, and promises nothing against people.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn read(path: &Path) -> Result<Option<String>, DirectoryError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(error("read", path)(cause)),
    }
}

/// Writes what holds no secret.
fn write(path: &Path, text: &str) -> Result<(), DirectoryError> {
    file::write_open(path, text.as_bytes()).map_err(error("write", path))
}

/// Lets pass that a file may not be written: one that is mounted, or on a file system that is only read.
fn unless_read_only(error: DirectoryError) -> Result<(), DirectoryError> {
    use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem, ResourceBusy};
    if let DirectoryError::File { cause, .. } = &error
        && matches!(cause.kind(), PermissionDenied | ReadOnlyFilesystem | ResourceBusy)
    {
        return Ok(());
    }
    Err(error)
}

fn error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DirectoryError + use<> {
    let path = path.to_owned();
    move |cause| DirectoryError::File { action, path, cause }
}
