//! Runs the program in this machine's bash against a DNS server of the test, and checks how its
//! output is read.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::process::Command;

use super::super::dns::tests::answer;
use super::*;

const API: [u8; 4] = [127, 0, 0, 1];
const NAME: &str = "kubernetes.default.svc.cluster.local";

fn probe(api_port: u16, dns_port: u16) -> Probe {
    let ip = IpAddr::from(Ipv4Addr::from(API));
    Probe {
        api: Target { name: "kubernetes", ip, port: api_port },
        dns: Some((Target { name: "kube-dns", ip, port: dns_port }, NAME.to_owned())),
    }
}

fn run(probe: &Probe) -> String {
    let command = probe.command();
    let out = Command::new(&command[0]).args(&command[1..]).output().unwrap();
    assert!(out.status.success(), "{out:?}");
    String::from_utf8(out.stdout).unwrap()
}

/// A server that answers over UDP and TCP with the address, on one port. It lives as long as the
/// test.
fn serve(address: [u8; 4]) -> u16 {
    let (udp, tcp) = loop {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()) {
            break (udp, tcp);
        }
    };
    let port = udp.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((length, from)) = udp.recv_from(&mut buffer) {
            udp.send_to(&answer(&buffer[..length], address), from).unwrap();
        }
    });
    std::thread::spawn(move || {
        for connection in tcp.incoming() {
            let mut connection = connection.unwrap();
            let mut length = [0; 2];
            // A client that only connects, like the API server probe, sends no query.
            if connection.read_exact(&mut length).is_err() {
                continue;
            }
            let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
            connection.read_exact(&mut question).unwrap();
            connection.write_all(&dns::framed(&answer(&question, address))).unwrap();
        }
    });
    port
}

#[test]
fn a_node_with_answers_has_no_problem() {
    let port = serve(API);
    let probe = probe(port, port);
    assert_eq!(probe.problem("a", &run(&probe)), None);
}

#[test]
fn a_wrong_answer_is_named() {
    let port = serve([127, 0, 0, 2]);
    let probe = probe(port, port);
    let want = format!(
        "node `a` queries Service kube-dns 127.0.0.1:{port} for {NAME} over UDP and gets 127.0.0.2 instead of 127.0.0.1"
    );
    assert_eq!(probe.problem("a", &run(&probe)), Some(want));
}

#[test]
fn a_refusing_service_is_named() {
    let port = serve(API);
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let to_dns = probe(port, closed);
    let problem = to_dns.problem("a", &run(&to_dns)).unwrap();
    let want = format!(
        "node `a` cannot reach Service kube-dns 127.0.0.1:{closed} over UDP: 8 of 8 queries got no response (refused or no route)"
    );
    assert_eq!(problem, want);
    let mut to_api = probe(closed, port);
    to_api.dns = None;
    let want = format!(
        "node `a` cannot reach Service kubernetes 127.0.0.1:{closed} over TCP: refused or no route"
    );
    assert_eq!(to_api.problem("a", &run(&to_api)), Some(want));
}

#[test]
fn one_silent_endpoint_of_two_is_a_problem() {
    let probe = probe(443, 53);
    let message = answer(&dns::question(NAME, probe.api.ip), API);
    let good = |protocol: &str| match protocol {
        "udp" => format!("udp 0 {}\n", BASE64_STANDARD.encode(&message)),
        _ => format!("tcp 0 {}\n", BASE64_STANDARD.encode(dns::framed(&message))),
    };
    let mut output = String::from("api 0\n");
    for protocol in ["udp", "tcp"] {
        output.push_str(&good(protocol).repeat(5));
    }
    output.push_str(&good("udp").repeat(3));
    output.push_str(&"tcp 124 \n".repeat(3));
    assert_eq!(
        probe.problem("a", &output).unwrap(),
        "node `a` cannot reach Service kube-dns 127.0.0.1:53 over TCP: 3 of 8 queries got no response (no response within 2 s)"
    );
}

#[test]
fn a_probe_without_output_is_inconclusive() {
    let problem = probe(443, 53).problem("a", "").unwrap();
    assert!(problem.contains("8 of 8 queries got no response (no request was sent)"), "{problem}");
}
