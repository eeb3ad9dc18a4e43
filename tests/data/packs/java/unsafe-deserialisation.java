package samples;

@JsonTypeInfo(use = JsonTypeInfo.Id.NAME)
class Shape {}

class Reader {
  Object read(InputStream in) throws Exception {
    ObjectInputStream stream = new ObjectInputStream(in);
    // ruleid: java-unsafe-deserialisation
    return stream.readObject();
  }

  Object decode(InputStream in) throws Exception {
    // ruleid: java-unsafe-deserialisation
    return new ObjectInputStream(in).readObject();
  }

  Object filtered(InputStream in) throws Exception {
    ObjectInputStream stream = new ObjectInputStream(in);
    stream.setObjectInputFilter(ALLOWED);
    // ok: java-unsafe-deserialisation
    return stream.readObject();
  }

  Object copied(Object value) throws Exception {
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    ObjectOutputStream out = new ObjectOutputStream(bytes);
    out.writeObject(value);
    out.close();
    ObjectInputStream stream = new ObjectInputStream(new ByteArrayInputStream(bytes.toByteArray()));
    // ok: java-unsafe-deserialisation
    return stream.readObject();
  }

  Object copiedInSteps(Object value) throws Exception {
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    ObjectOutputStream out = new ObjectOutputStream(bytes);
    out.writeObject(value);
    ByteArrayInputStream back = new ByteArrayInputStream(bytes.toByteArray());
    ObjectInputStream stream = new ObjectInputStream(back);
    // ok: java-unsafe-deserialisation
    return stream.readObject();
  }

  Object copiedByLibrary(Serializable value) {
    // ok: java-unsafe-deserialisation
    return SerializationUtils.deserialize(SerializationUtils.serialize(value));
  }

  Object collected(InputStream in) throws Exception {
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    in.transferTo(bytes);
    ObjectInputStream stream = new ObjectInputStream(new ByteArrayInputStream(bytes.toByteArray()));
    // ruleid: java-unsafe-deserialisation
    return stream.readObject();
  }

  Object fromLibrary(byte[] body) {
    // ruleid: java-unsafe-deserialisation
    return SerializationUtils.deserialize(body);
  }

  private void readObject(ObjectInputStream stream) throws Exception {
    // ok: java-unsafe-deserialisation
    this.part = (Part) stream.readObject();
  }

  Object xml(String text) {
    XStream xstream = new XStream();
    // ruleid: java-unsafe-deserialisation-xstream
    return xstream.fromXML(text);
  }

  Object driven(String text) {
    XStream reader = new XStream(new DomDriver());
    reader.alias("contact", Contact.class);
    // ruleid: java-unsafe-deserialisation-xstream
    return reader.fromXML(text);
  }

  Object allowed(String text) {
    XStream xstream = new XStream();
    xstream.allowTypes(new Class[] {Contact.class});
    // ok: java-unsafe-deserialisation-xstream
    return xstream.fromXML(text);
  }

  String write(Contact contact) {
    XStream xstream = new XStream();
    // ok: java-unsafe-deserialisation-xstream
    return xstream.toXML(contact);
  }

  Object yaml(String text) {
    Yaml yaml = new Yaml();
    // ruleid: java-unsafe-deserialisation-yaml
    return yaml.load(text);
  }

  Object yamls(InputStream in) {
    // ruleid: java-unsafe-deserialisation-yaml
    return new Yaml().loadAll(in);
  }

  Object safeYaml(String text) {
    Yaml yaml = new Yaml(new SafeConstructor(new LoaderOptions()));
    // ok: java-unsafe-deserialisation-yaml
    return yaml.load(text);
  }

  String dump(Object value) {
    Yaml yaml = new Yaml();
    // ok: java-unsafe-deserialisation-yaml
    return yaml.dump(value);
  }

  void mapper(ObjectMapper mapper) {
    // ruleid: java-unsafe-deserialisation-jackson
    mapper.enableDefaultTyping();
    // ruleid: java-unsafe-deserialisation-jackson
    mapper.activateDefaultTyping(LaissezFaireSubTypeValidator.instance, ObjectMapper.DefaultTyping.NON_FINAL);
    // ok: java-unsafe-deserialisation-jackson
    mapper.activateDefaultTyping(BasicPolymorphicTypeValidator.builder().allowIfSubType("samples.").build());
    // ok: java-unsafe-deserialisation-jackson
    mapper.registerModule(new JavaTimeModule());
  }
}
