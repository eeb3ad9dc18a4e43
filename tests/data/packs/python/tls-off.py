"""Connections that verify nothing, and safe twins."""

import ssl

import aiohttp
import httpx
import paramiko
import requests


def careless(session, context):
    # ruleid: python-tls-off
    requests.get("https://api.internal", verify=False, timeout=5)
    # ruleid: python-tls-off
    httpx.AsyncClient(verify=False)
    # ruleid: python-tls-off
    context.verify_mode = ssl.CERT_NONE
    # ruleid: python-tls-off
    aiohttp.TCPConnector(ssl=False)
    # ok: python-tls-off
    requests.get("https://api.internal", verify="/etc/ssl/internal.pem", timeout=5)
    # ok: python-tls-off
    httpx.Client()
    # ok: python-tls-off
    context.verify_mode = ssl.CERT_REQUIRED
    # ok: python-tls-off
    session.check(verify=False)


def versions(context):
    # ruleid: python-tls-off-old-protocol
    one = ssl.SSLContext(ssl.PROTOCOL_TLSv1)
    # ruleid: python-tls-off-old-protocol
    context.minimum_version = ssl.TLSVersion.TLSv1_1
    # ok: python-tls-off-old-protocol
    two = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # ok: python-tls-off-old-protocol
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return one, two


def shell(client):
    # ruleid: python-tls-off-ssh-host-key
    client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
    # ruleid: python-tls-off-ssh-host-key
    client.set_missing_host_key_policy(paramiko.AutoAddPolicy)
    # ok: python-tls-off-ssh-host-key
    client.set_missing_host_key_policy(paramiko.RejectPolicy())
    # ok: python-tls-off-ssh-host-key
    client.load_system_host_keys()
