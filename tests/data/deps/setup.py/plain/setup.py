from setuptools import setup

setup(
    name="demo",
    # install_requires was elsewhere
    install_requires=["flask>=2"],
)
