"""Weak digests, ciphers, random numbers, keys and tokens, and safe twins."""

import hashlib
import random
import secrets

import jwt
from Crypto.Cipher import AES, DES
from Crypto.PublicKey import RSA
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.ciphers import algorithms, modes


def store(password, content, user, salt):
    # ruleid: python-weak-cryptography-password-hash
    one = hashlib.md5(password.encode()).hexdigest()
    # ruleid: python-weak-cryptography-password-hash
    two = hashlib.sha256(salt + user.password.encode("utf-8")).digest()
    # ok: python-weak-cryptography-password-hash
    three = hashlib.sha256(content).hexdigest()
    # ok: python-weak-cryptography-password-hash
    four = hashlib.scrypt(password.encode(), salt=salt, n=16384, r=8, p=1)
    # ok: python-weak-cryptography-password-hash
    five = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, 600_000)
    return one, two, three, four, five


def ciphers(key, nonce):
    # ruleid: python-weak-cryptography-cipher
    one = DES.new(key, DES.MODE_CBC, nonce)
    # ruleid: python-weak-cryptography-cipher
    two = AES.new(key, AES.MODE_ECB)
    # ruleid: python-weak-cryptography-cipher
    three = modes.ECB()
    # ok: python-weak-cryptography-cipher
    four = AES.new(key, AES.MODE_GCM, nonce=nonce)
    # ok: python-weak-cryptography-cipher
    five = algorithms.AES(key)
    return one, two, three, four, five


def draw(letters):
    # ruleid: python-weak-cryptography-random
    reset_token = "".join(random.choice(letters) for _ in range(20))
    # ruleid: python-weak-cryptography-random
    otp = random.randint(100000, 999999)
    # ok: python-weak-cryptography-random
    delay = random.uniform(0.5, 2)
    # ok: python-weak-cryptography-random
    token = secrets.token_urlsafe(32)
    return reset_token, otp, delay, token


def keys():
    # ruleid: python-weak-cryptography-key-size
    one = RSA.generate(1024)
    # ruleid: python-weak-cryptography-key-size
    two = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    # ok: python-weak-cryptography-key-size
    three = RSA.generate(3072)
    # ok: python-weak-cryptography-key-size
    four = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return one, two, three, four


def claims(mark, key):
    # ruleid: python-weak-cryptography-jwt-unverified
    one = jwt.decode(mark, options={"verify_signature": False})
    # ruleid: python-weak-cryptography-jwt-unverified
    two = jwt.decode(mark, key, algorithms=["HS256", "none"])
    # ok: python-weak-cryptography-jwt-unverified
    three = jwt.decode(mark, key, algorithms=["HS256"])
    # ok: python-weak-cryptography-jwt-unverified
    four = jwt.decode(mark, key, algorithms=["RS256"], options={"verify_exp": True})
    return one, two, three, four
