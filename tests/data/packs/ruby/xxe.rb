def read(text)
  # ruleid: ruby-xxe
  Nokogiri::XML(text) { |config| config.strict.noent }
  # ruleid: ruby-xxe
  Nokogiri::XML(text, nil, nil, Nokogiri::XML::ParseOptions::NOENT)
  # ruleid: ruby-xxe
  LibXML::XML.default_substitute_entities = true
  # ok: ruby-xxe
  Nokogiri::XML(text)
  # ok: ruby-xxe
  Nokogiri::XML(text) { |config| config.strict.nonet }
  # ok: ruby-xxe
  Nokogiri::XML(text, nil, nil, Nokogiri::XML::ParseOptions::NONET)
end

def stream(text, other)
  parser = Nokogiri::XML::SAX::Parser.new(Handler.new)
  # ruleid: ruby-xxe-sax-entities
  parser.parse(text) { |ctx| ctx.replace_entities = true }
  # ok: ruby-xxe-sax-entities
  parser.parse(text) { |ctx| ctx.replace_entities = false }
  parser.parse(other) do |ctx|
    # ruleid: ruby-xxe-sax-entities
    ctx.replace_entities = true
    # ok: ruby-xxe-sax-entities
    ctx.recovery = true
  end
end
