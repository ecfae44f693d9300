"""Certificates: where trust comes from on each system, and errors that name a missing file."""

import ssl
from pathlib import Path
from typing import Final

import anyio
import certifi
import pytest
import truststore
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA1, Hash
from support.certificates import tls
from support.proxying import JANE, listening, saying
from support.wires import no_mocks

from sunshine_async import BasicAuth, ConfigurationError, ConnectError, Fault, Retry, SunshineClient
from sunshine_async._http.certificates import shared_ssl_context, system_context

AUTH: Final = BasicAuth("key-id", "secret")
VARIABLES: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR")
WAYS: Final = {"own": "asyncio", "httpx": "asyncio", "httpx on trio": "trio"}


def authority_file(folder: Path) -> Path:
    """Return a file with the certificate of the tests' authority."""
    file = folder / "authority.pem"
    tls().authority.cert_pem.write_to_path(str(file))
    return file


def authority_folder(folder: Path) -> Path:
    """Return a folder with the authority's certificate under the name by which OpenSSL looks."""
    subject = x509.load_pem_x509_certificate(tls().authority.cert_pem.bytes()).subject
    canonical = x509.Name([x509.NameAttribute(one.oid, one.value.lower()) for one in subject])
    digest = Hash(SHA1())  # noqa: S303 - OpenSSL's own choice for names
    digest.update(canonical.public_bytes()[2:])
    name = f"{int.from_bytes(digest.finalize()[:4], 'little'):08x}.0"
    tls().authority.cert_pem.write_to_path(str(folder / name))
    return folder


def defaults(file: Path, folder: Path) -> ssl.DefaultVerifyPaths:
    """Return the default paths of an OpenSSL."""
    return ssl.DefaultVerifyPaths("", "", VARIABLES[0], str(file), VARIABLES[1], str(folder))


def create_user(
    way: str, monkeypatch: pytest.MonkeyPatch, ssl_context: ssl.SSLContext | None = None
) -> None:
    """Create a user on a server with a certificate of the tests' authority."""
    if way == "own":
        no_mocks(monkeypatch)

    async def scenario() -> None:
        async with listening(saying(JANE, heard=[]), tls().server) as port:
            client = SunshineClient(
                "app",
                auth=AUTH,
                base_url=f"https://127.0.0.1:{port}",
                ssl_context=ssl_context,
                retry=Retry(max_attempts=2),
            )
            async with client:
                await client.request("POST", "/v2/apps/{app_id}/users", json={})

    anyio.run(scenario, backend=WAYS[way])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("variable", VARIABLES)
def test_certificates_that_the_environment_names(
    variable: str, way: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A private authority in a named file, or in a named folder, is trusted."""
    make = {"SSL_CERT_FILE": authority_file, "SSL_CERT_DIR": authority_folder}[variable]
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, str(make(tmp_path)))

    create_user(way, monkeypatch)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("place", ["file", "folder"])
def test_certificates_of_the_system(
    place: str, way: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A private authority in the system's trust store is trusted, and certifi isn't read."""
    file, folder = tmp_path / "cert.pem", tmp_path / "certs"
    if place == "file":
        file = authority_file(tmp_path)
    else:
        folder.mkdir()
        folder = authority_folder(folder)
    context = system_context("linux", defaults(file, folder))

    create_user(way, monkeypatch, context)
    assert context.cert_store_stats()["x509_ca"] <= 1


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_certificates_of_a_system_with_a_store_of_its_own(
    platform: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """On macOS and Windows truststore asks the system; each wire can use the context."""
    context = system_context(platform, defaults(tmp_path, tmp_path))

    assert isinstance(context, truststore.SSLContext)
    context.load_verify_locations(authority_file(tmp_path))
    for way in WAYS:
        create_user(way, monkeypatch, context)


def test_a_system_without_certificates_has_those_of_certifi(tmp_path: Path) -> None:
    """Where the system has no certificate, such as in a small image, certifi's are trusted."""
    (tmp_path / "README").touch()
    context = system_context("linux", defaults(tmp_path / "cert.pem", tmp_path))
    expected = ssl.create_default_context(cafile=certifi.where())

    assert context.cert_store_stats() == expected.cert_store_stats()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


@pytest.mark.parametrize("content", ["nothing", None])
def test_no_certificates_at_all(content: str | None, tmp_path: Path) -> None:
    """Without any certificate the error names every place, and the next step."""
    bundle = tmp_path / "bundle.pem"
    if content:
        bundle.write_text(content, encoding="utf-8")
    paths = defaults(tmp_path / "cert.pem", tmp_path / "certs")

    with pytest.raises(ConfigurationError, match="no trusted certificates") as caught:
        system_context("linux", paths, find_bundle=lambda: str(bundle))

    for said in (paths.openssl_cafile, paths.openssl_capath, str(bundle), "SSL_CERT_FILE"):
        assert said in str(caught.value)


def test_a_named_file_replaces_the_store_of_the_system(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A named file is all that is trusted; the context is made once for equal names."""
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority_file(tmp_path)))

    assert shared_ssl_context().cert_store_stats()["x509_ca"] == 1
    assert shared_ssl_context() is shared_ssl_context()


@pytest.mark.parametrize("way", WAYS)
def test_a_named_file_that_vanishes(
    way: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A file that can't be read at the first call ends the call at once: no retry would help."""
    file = authority_file(tmp_path)
    if way == "own":
        no_mocks(monkeypatch)

    async def scenario() -> None:
        async with SunshineClient("app", auth=AUTH, base_url="https://127.0.0.1:1") as client:
            monkeypatch.setenv("SSL_CERT_FILE", str(file.with_name("gone.pem")))
            with pytest.raises(ConnectError, match=r"SSL_CERT_FILE names .*gone\.pem") as caught:
                await client.users.get("1")
        assert (caught.value.fault, caught.value.attempts) == (Fault.PERMANENT, 1)
        assert "no such file or directory" in str(caught.value)

    anyio.run(scenario, backend=WAYS[way])


def test_the_usual_certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the environment names no certificates, some are trusted, and names are checked."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)

    assert shared_ssl_context().verify_mode is ssl.CERT_REQUIRED
    assert shared_ssl_context().check_hostname
