package samples;

class XmlReader {
  Document dom(InputStream in) throws Exception {
    DocumentBuilderFactory factory = DocumentBuilderFactory.newInstance();
    // ruleid: java-xxe
    return factory.newDocumentBuilder().parse(in);
  }

  void sax(InputStream in, DefaultHandler handler) throws Exception {
    SAXParserFactory factory = SAXParserFactory.newInstance();
    factory.setNamespaceAware(true);
    // ruleid: java-xxe
    factory.newSAXParser().parse(in, handler);
  }

  Document domSafe(InputStream in) throws Exception {
    DocumentBuilderFactory factory = DocumentBuilderFactory.newInstance();
    factory.setFeature("http://apache.org/xml/features/disallow-doctype-decl", true);
    // ok: java-xxe
    return factory.newDocumentBuilder().parse(in);
  }

  Document dom4jSafe(InputStream in) throws Exception {
    SAXReader reader = new SAXReader();
    reader.setFeature("http://apache.org/xml/features/disallow-doctype-decl", true);
    // ok: java-xxe
    return reader.read(in);
  }

  XMLStreamReader stax(InputStream in) throws Exception {
    XMLInputFactory factory = XMLInputFactory.newInstance();
    // ruleid: java-xxe-stax
    return factory.createXMLStreamReader(in);
  }

  XMLEventReader events(InputStream in) throws Exception {
    // ruleid: java-xxe-stax
    return XMLInputFactory.newFactory().createXMLEventReader(in);
  }

  XMLStreamReader staxSafe(InputStream in) throws Exception {
    XMLInputFactory factory = XMLInputFactory.newInstance();
    factory.setProperty(XMLInputFactory.SUPPORT_DTD, false);
    // ok: java-xxe-stax
    return factory.createXMLStreamReader(in);
  }

  XMLStreamReader staxSafeToo(InputStream in) throws Exception {
    XMLInputFactory factory = XMLInputFactory.newInstance();
    factory.setProperty(XMLInputFactory.IS_SUPPORTING_EXTERNAL_ENTITIES, Boolean.FALSE);
    // ok: java-xxe-stax
    return factory.createXMLStreamReader(in);
  }

  void style(InputStream sheet, InputStream in) throws Exception {
    TransformerFactory factory = TransformerFactory.newInstance();
    // ruleid: java-xxe-transformer
    Transformer transformer = factory.newTransformer(new StreamSource(sheet));
  }

  void copy(InputStream in, Result result) throws Exception {
    TransformerFactory factory = TransformerFactory.newInstance();
    Transformer transformer = factory.newTransformer();
    // ruleid: java-xxe-transformer
    transformer.transform(new StreamSource(in), result);
  }

  void styleSafe(InputStream sheet) throws Exception {
    TransformerFactory factory = TransformerFactory.newInstance();
    factory.setAttribute(XMLConstants.ACCESS_EXTERNAL_DTD, "");
    // ok: java-xxe-transformer
    Transformer transformer = factory.newTransformer(new StreamSource(sheet));
  }

  void print(Document document, Result result) throws Exception {
    TransformerFactory factory = TransformerFactory.newInstance();
    // ok: java-xxe-transformer
    factory.newTransformer().transform(new DOMSource(document), result);
  }
}
