"""Errors dropped, and errors dealt with."""

import logging

import jwt
from itsdangerous import BadSignature


def one(path):
    try:
        path.unlink()
    # ruleid: python-swallowed-errors
    except:
        pass
    for part in path:
        try:
            part.unlink()
        # ruleid: python-swallowed-errors
        except: continue
    try:
        path.unlink()
    # ok: python-swallowed-errors, python-swallowed-errors-any-exception
    except FileNotFoundError:
        pass
    try:
        path.unlink()
    # ok: python-swallowed-errors
    except:
        logging.exception("not removed")
        raise


def two(path):
    try:
        path.unlink()
    # ruleid: python-swallowed-errors-any-exception
    except Exception:
        pass
    for part in path:
        try:
            part.unlink()
        # ruleid: python-swallowed-errors-any-exception
        except Exception as error:
            continue
    try:
        path.unlink()
    # ok: python-swallowed-errors-any-exception
    except Exception:
        logging.exception("not removed")
    try:
        path.unlink()
    # ok: python-swallowed-errors-any-exception
    except Exception:
        pass  # the folder goes anyway
    try:
        return int(path.name)
    # ok: python-swallowed-errors-any-exception
    except Exception:
        pass
    raise ValueError(path)


class Held:
    def __del__(self):
        try:
            self.release()
        # ok: python-swallowed-errors-any-exception
        except Exception:
            pass

    def close(self):
        try:
            self.release()
        # ruleid: python-swallowed-errors-any-exception
        except Exception:
            pass
        self.check()
        raise ValueError(self)


def three(mark, key, signer):
    try:
        jwt.decode(mark, key, algorithms=["HS256"])
    # ruleid: python-swallowed-errors-verification
    except jwt.InvalidTokenError:
        pass
    try:
        signer.unsign(mark)
    # ruleid: python-swallowed-errors-verification
    except BadSignature:
        pass
    try:
        signer.unsign(mark)
    # ok: python-swallowed-errors-verification
    except BadSignature:
        return None
    try:
        signer.load()
    # ok: python-swallowed-errors-verification
    except KeyError:
        pass
