//! What the API may do with peers: its own, and no others.

use wg::{Conf, PublicKey};

use super::{
    Desk, DeskError,
    decide::{Wanted, known},
};
use crate::{
    api::{Admission, Answer, Gateway, Refusal, Request},
    environment::PeerId,
    roster::{Member, RosterError},
    server::GatewayError,
    text::{Text, texts},
};

/// Who asked for a change, in the log.
const API: &str = "by the API";

/// Why nothing is done, and what is said of it.
type Refused = (Refusal, String);

impl Desk {
    /// Carries out what a client of the API asks for. Says too what is worth a line in the log.
    pub fn serve(&mut self, request: Request) -> (Answer, Option<String>) {
        let served = match request {
            Request::Put { name, public_key } => self.put(&name, public_key),
            Request::Delete { name } => self.delete(name),
            Request::Get { name } => self
                .own(&name)
                .and_then(|_| self.admission(&name))
                .map(|peer| (peer, None)),
        };
        served.unwrap_or_else(|(refusal, message)| (Answer::Refused(refusal, message), None))
    }

    fn put(&mut self, name: &str, key: PublicKey) -> Result<(Answer, Option<String>), Refused> {
        let id = parse(name)?;
        if !self.is_for_the_api(&id)? {
            let message = format!("{name} is a peer that was not made by the API, or was one; choose another name");
            return Err((Refusal::Foreign, message));
        }
        let wanted = Wanted::Admit {
            name: name.to_owned(),
            key,
        };
        let (_, line) = self.change(wanted, API).map_err(refused)?;
        // What is done stays done: who asks again gets it.
        match self.admission(name) {
            Ok(answer) => Ok((answer, line)),
            Err((refusal, message)) => Ok((Answer::Refused(refusal, message), line)),
        }
    }

    fn delete(&mut self, name: String) -> Result<(Answer, Option<String>), Refused> {
        self.own(&name)?;
        let names = vec![name];
        let (_, line) = self
            .change(Wanted::Remove { names, keep: false }, API)
            .map_err(refused)?;
        Ok((Answer::Deleted, line))
    }

    /// The peer of this name that the API made. Of others it is not said that they are there.
    fn own(&self, name: &str) -> Result<&Member, Refused> {
        let id = parse(name)?;
        let member = self.roster.member(&id).filter(|member| self.is_of_the_api(member));
        member.ok_or_else(|| (Refusal::Nobody, format!("the API has no peer {name}")))
    }

    fn is_of_the_api(&self, member: &Member) -> bool {
        member.record.by_api && !self.roster.is_listed(&member.id)
    }

    /// Whether a name is one that the API has given, or that nobody has, or had and left something behind.
    fn is_for_the_api(&self, id: &PeerId) -> Result<bool, Refused> {
        if let Some(member) = self.roster.member(id) {
            return Ok(self.is_of_the_api(member));
        }
        let record = self.directory.record(id).map_err(|error| refused(error.into()))?;
        let is_unknown = !self.directory.root().join(id.file_name()).exists();
        Ok((record.by_api || is_unknown) && !self.roster.is_listed(id))
    }

    /// What a peer's configuration says, so that templates hold for clients of the API, too.
    fn admission(&self, name: &str) -> Result<Answer, Refused> {
        let member = known(&self.roster, name).map_err(refused)?;
        let text = self.conf_of(member).map_err(|error| refused(error.into()))?;
        let file = format!("{0}/{0}.conf", member.id.file_name());
        let conf = Conf::parse(&file, &text).map_err(|error| (Refusal::Unavailable, error.to_string()))?;
        let peer = conf
            .peer(&self.terms.server_key)
            .and_then(|peer| Some((peer.endpoint.clone()?, peer)));
        let (endpoint, peer) = peer.ok_or_else(|| {
            let message =
                format!("{file} has no [Peer] with the gateway's key and an Endpoint; mend templates/peer.conf");
            (Refusal::Unavailable, message)
        })?;
        let interface = conf.interface();
        Ok(Answer::Peer(Box::new(Admission {
            name: member.id.item().to_string(),
            public_key: Text(member.client.public_key),
            dns: interface.dns_servers().map(|(address, _)| address).collect(),
            search: interface.dns_search().map(str::to_owned).collect(),
            addresses: texts(&interface.addresses),
            mtu: interface.mtu,
            server: Gateway {
                public_key: Text(peer.public_key),
                endpoint: Text(endpoint),
                preshared_key: peer.preshared_key,
                allowed_ips: texts(&peer.allowed_ips),
                persistent_keepalive: peer.persistent_keepalive,
            },
        })))
    }
}

fn parse(name: &str) -> Result<PeerId, Refused> {
    name.parse()
        .map_err(|error: crate::name::NameError| (Refusal::Name, error.to_string()))
}

fn refused(error: DeskError) -> Refused {
    let refusal = match &error {
        DeskError::Refused(_)
        | DeskError::Gateway(GatewayError::Taken(_))
        | DeskError::Roster(RosterError::Taken { .. }) => Refusal::Conflict,
        DeskError::Directory(_) | DeskError::Gateway(_) | DeskError::Roster(_) | DeskError::NotUndone { .. } => {
            Refusal::Unavailable
        }
    };
    (refusal, error.to_string())
}
