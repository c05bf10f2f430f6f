//! Blobs at npm's Azurite, which signs and compares as Azure does; and an identity at a fake, which knows no blobs.

use std::sync::{Arc, Mutex};

use netlab::serve::azurite::{KEY, azurite};

use super::*;
use crate::{
    Cloud, Credential,
    credential::{Choice, Settings},
};

fn blob(location: &Location, string: &str) -> Blob {
    let string: ConnectionString = string.parse().unwrap();
    Blob::new(location.join("state"), string.access(location).unwrap()).unwrap()
}

#[tokio::test]
async fn a_blob_is_read_written_and_removed_by_key_and_by_signature() {
    netlab::requires!("node", "npm:azurite");
    let azurite = azurite(0);
    let container = azurite.make_container("kept").parse::<Location>().unwrap();
    let signature = signature::of_container("devstoreaccount1", KEY, "kept", "rwcd");
    let signed = format!("BlobEndpoint={};SharedAccessSignature={signature}", azurite.url());
    for string in [azurite.connection_string(), signed] {
        let blob = blob(&container, &string);
        assert_eq!(blob.read(100).await.unwrap(), None);
        let first = blob.write(b"one", None).await.unwrap();
        let found = blob.read(100).await.unwrap().unwrap();
        assert_eq!((&*found.bytes, &found.tag), (&b"one"[..], &first));
        assert_eq!(blob.read(2).await.unwrap().unwrap().bytes, b"on");
        // There is one, and later another: who does not know of it replaces nothing.
        assert_eq!(blob.write(b"two", None).await.unwrap_err().fault, Fault::Changed);
        let second = blob.write(b"", Some(&first)).await.unwrap();
        assert_eq!(
            blob.write(b"three", Some(&first)).await.unwrap_err().fault,
            Fault::Changed
        );
        assert_eq!(blob.read(100).await.unwrap().unwrap().bytes, b"");
        assert_eq!(blob.remove(&first).await.unwrap_err().fault, Fault::Changed);
        blob.remove(&second).await.unwrap();
        assert_eq!(blob.read(100).await.unwrap(), None);
    }
}

#[tokio::test]
async fn who_may_not_and_what_is_not_there_is_told_apart() {
    netlab::requires!("node", "npm:azurite");
    let azurite = azurite(0);
    let container = azurite.make_container("kept").parse::<Location>().unwrap();
    let elsewhere: Location = format!("{}/nowhere", azurite.url()).parse().unwrap();
    let right = azurite.connection_string();
    let wrong = format!("{right};AccountKey=d3Jvbmc=");
    let reading = signature::of_container("devstoreaccount1", KEY, "kept", "r");
    let reading = format!("BlobEndpoint={};SharedAccessSignature={reading}", azurite.url());
    let forged = format!(
        "BlobEndpoint={};SharedAccessSignature=sv=2021-12-02&sr=c&sp=rw&sig=Zm9yZ2Vk",
        azurite.url()
    );
    // (container, connection string, what reading says, what writing says)
    for (container, string, read, written) in [
        (&container, &wrong, Some(Fault::Denied), Fault::Denied),
        (&container, &forged, Some(Fault::Denied), Fault::Denied),
        (&container, &reading, None, Fault::Denied),
        (&elsewhere, &right, Some(Fault::NoContainer), Fault::NoContainer),
    ] {
        let blob = blob(container, string);
        assert_eq!(blob.read(9).await.err().map(|error| error.fault), read, "{string}");
        let error = blob.write(b"x", None).await.unwrap_err();
        assert_eq!(error.fault, written, "{error}");
        assert!(!error.to_string().contains("sig="), "{error}");
    }
}

#[tokio::test]
async fn nobody_at_home_may_be_asked_again() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let string = format!("UseDevelopmentStorage=true;BlobEndpoint=http://127.0.0.1:{port}/devstoreaccount1");
    let location = format!("http://127.0.0.1:{port}/devstoreaccount1/kept")
        .parse()
        .unwrap();
    let error = blob(&location, &string).read(9).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert!(error.to_string().contains("refused"), "{error}");
}

/// Gives tokens as the platform of App Service does, and takes the second one only.
async fn identity_and_storage(asked: Arc<Mutex<Vec<String>>>) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut tokens = 0;
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
                    break;
                }
            }
            let head = String::from_utf8_lossy(&request).to_lowercase();
            let line = head.lines().next().unwrap_or_default().to_owned();
            let (status, body) = if line.contains("/token") {
                tokens += 1;
                (
                    "200 OK",
                    format!(r#"{{"access_token":"t{tokens}","expires_on":"9999999999","token_type":"Bearer"}}"#),
                )
            } else if head.contains("authorization: bearer t2") {
                ("206 Partial Content", "kept".to_owned())
            } else {
                ("401 Unauthorized", String::new())
            };
            asked.lock().unwrap().push(line);
            let answer = format!(
                "HTTP/1.1 {status}\r\netag: \"1\"\r\ncontent-range: bytes 0-3/4\r\nconnection: close\r\n\
                 content-length: {}\r\n\r\n{body}",
                body.len()
            );
            let _unheard = stream.write_all(answer.as_bytes()).await;
        }
    });
    address
}

#[tokio::test]
async fn an_identity_s_token_is_for_storage_and_renewed_once() {
    let asked = Arc::default();
    let address = identity_and_storage(Arc::clone(&asked)).await;
    let settings = Settings {
        identity_endpoint: Some(format!("{address}/token")),
        identity_header: Some(Zeroizing::new("h".to_owned())),
        ..Settings::default()
    };
    let credential = Credential::choose(Choice::Auto, &settings).unwrap();
    let tokens = Arc::new(Tokens::of(credential, Cloud::default()).unwrap());
    let location: Location = format!("{address}/kept").parse().unwrap();
    let blob = Blob::new(location.join("state"), Access::Identity(tokens)).unwrap();
    let found = blob.read(100).await.unwrap().unwrap();
    assert_eq!(found.bytes, b"kept");
    let asked = asked.lock().unwrap();
    let (tokens, blobs): (Vec<&String>, Vec<&String>) = asked.iter().partition(|line| line.contains("/token"));
    assert_eq!((tokens.len(), blobs.len()), (2, 2), "{asked:?}");
    assert!(
        tokens[0].contains("resource=https%3a%2f%2fstorage.azure.com"),
        "{asked:?}"
    );
}
