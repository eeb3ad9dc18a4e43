import pickle


def basket(cookie):
    return pickle.loads(cookie)
